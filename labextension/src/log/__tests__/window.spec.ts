import { type IChunk, LogWindow, rowsOf } from '../window';

const piece = (start: number, rows: number): IChunk => ({
  start,
  end: start + 10,
  text: 'x'.repeat(200_000),
  rows
});

it.each([
  ['', 0],
  ['a', 1],
  ['a\n', 1],
  ['a\nb', 2],
  ['\n\n\n', 3],
  ['1234567890\n', 1],
  ['12345678901\n', 2],
  ['12345678901', 2]
])('%j takes as many rows of 10 as it says', (text, rows) => {
  expect(rowsOf(text, 10)).toBe(rows);
});

it('lets go of the oldest while the end is looked at', () => {
  const window = new LogWindow();
  [0, 10, 20, 30].forEach(start => window.append(piece(start, 5)));
  expect(window.trim(12)).toBe(2);
  expect([window.start, window.end]).toEqual([20, 40]);
});

it('lets go of what is farthest from the place that is looked at', () => {
  const window = new LogWindow();
  window.replace([0, 10, 20, 30, 40].map(start => piece(start, 5)));
  expect(window.trim(15, 10)).toBe(0);
  expect([window.start, window.end]).toEqual([0, 30]);
});

it('never lets go of the place itself, however much it takes', () => {
  const window = new LogWindow();
  window.replace([0, 10, 20].map(start => piece(start, 500)));
  expect(window.trim(15, 10)).toBe(1);
  expect([window.start, window.end]).toEqual([10, 20]);
});
