/** Where the rows of a long list stand, and which of them are in sight. */

/** Top of each row, and at last the height of all, in pixels. */
export function tops(heights: Iterable<number>, count: number): Uint32Array {
  const result = new Uint32Array(count + 1);
  let index = 0;
  for (const height of heights) {
    result[index + 1] = result[index] + height;
    index += 1;
  }
  return result;
}

/** The row that covers this height; the last one below it all. */
export function rowAt(rows: Uint32Array, y: number): number {
  let low = 0;
  let high = Math.max(0, rows.length - 2);
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (rows[middle] <= y) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

/** The rows to draw, the end excluded: those in sight and some on either side. */
export function inSight(
  rows: Uint32Array,
  scrolled: number,
  height: number,
  beside = 8
): [number, number] {
  const count = rows.length - 1;
  return [
    Math.max(0, rowAt(rows, scrolled) - beside),
    Math.min(count, rowAt(rows, scrolled + height) + 1 + beside)
  ];
}
