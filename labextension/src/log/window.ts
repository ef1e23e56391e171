/**
 * The part of a log that is held here: pieces of text that follow each other without a gap.
 *
 * A place in the log is named by the offset of a piece and a number of lines from its beginning, as the bytes of the
 * raw log cannot be counted in the text that the server made of them.
 */
import type { ILogPiece } from '../tokens';

/** What stands between two offsets, and how many rows of a terminal it takes at most. */
export interface IChunk {
  start: number;
  end: number;
  text: string;
  rows: number;
}

/** So many lines after (or, below 0, before) the beginning of the piece at `offset`. */
export interface IPosition {
  offset: number;
  lines: number;
}

/** Text that streams in by a few bytes joins the last piece until that has this many characters. */
const JOIN = 1 << 18;

/** How many rows of `columns` a text takes at most. */
export function rowsOf(text: string, columns: number): number {
  let rows = 0;
  for (let at = 0; at < text.length;) {
    const newline = text.indexOf('\n', at);
    const end = newline < 0 ? text.length : newline;
    rows += Math.max(1, Math.ceil((end - at) / columns));
    at = end + 1;
  }
  return rows;
}

export function chunkOf(piece: ILogPiece, columns: number): IChunk {
  const { start, offset, text } = piece;
  return { start, end: offset, text, rows: rowsOf(text, columns) };
}

export class LogWindow {
  get chunks(): readonly IChunk[] {
    return this._chunks;
  }

  get start(): number {
    return this._chunks[0]?.start ?? 0;
  }

  get end(): number {
    return this._chunks[this._chunks.length - 1]?.end ?? 0;
  }

  replace(chunks: IChunk[]): void {
    this._chunks = chunks;
  }

  prepend(chunks: IChunk[]): void {
    this._chunks = [...chunks, ...this._chunks];
  }

  /** Add what follows; whether it stands as a piece of its own. */
  append(added: IChunk): boolean {
    const last = this._chunks[this._chunks.length - 1];
    if (last && last.text.length + added.text.length <= JOIN) {
      last.text += added.text;
      last.end = added.end;
      last.rows += added.rows;
      return false;
    }
    this._chunks.push(added);
    return true;
  }

  /** The terminal has other columns. */
  measure(columns: number): void {
    for (const chunk of this._chunks) {
      chunk.rows = rowsOf(chunk.text, columns);
    }
  }

  /** Let go of the pieces beyond `rows` that are farthest from `keep`; how many went at the front. */
  trim(rows: number, keep = this.end): number {
    let total = this._chunks.reduce((sum, chunk) => sum + chunk.rows, 0);
    let before = this._chunks.findIndex(({ end }) => end > keep);
    before = before < 0 ? this._chunks.length - 1 : before;
    let front = 0;
    let back = this._chunks.length;
    while (total > rows && back - front > 1) {
      const dropped = before - front > back - 1 - before ? front++ : --back;
      total -= this._chunks[dropped].rows;
    }
    this._chunks = this._chunks.slice(front, back);
    return front;
  }

  private _chunks: IChunk[] = [];
}
