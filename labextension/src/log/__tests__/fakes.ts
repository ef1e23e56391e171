/** A log as the server serves it, and a screen that keeps what it was given. */
import type { ILogPiece } from '../../tokens';
import type { IScreen } from '../session';
import type { IChunk, IPosition } from '../window';

export class FakeLog {
  /** ASCII only, so that characters are bytes. */
  text = '';
  ended = false;
  /** Bytes of the pages that were asked for. */
  asked: number[] = [];
  /** What `log` answers instead, once. */
  failure: Error | null = null;
  /** Whether streams bring anything. */
  streams = true;
  /** How often a stream was opened. */
  opened = 0;

  /** Whole lines from the first that begins at an offset or after it. */
  piece(offset: number, limit: number): ILogPiece {
    const size = this.text.length;
    let start = offset < 0 ? Math.max(0, size + offset) : Math.min(offset, size);
    if (start > 0 && this.text[start - 1] !== '\n') {
      const newline = this.text.indexOf('\n', start);
      start = newline < 0 ? size : newline + 1;
    }
    let end = Math.min(start + limit, size);
    if (end < size || !this.ended) {
      end = this.text.lastIndexOf('\n', end - 1) + 1;
      if (end <= start) {
        end = this.text.indexOf('\n', start) + 1 || start;
      }
    }
    return {
      text: this.text.slice(start, end),
      start,
      offset: end,
      size,
      ended: this.ended && end === size
    };
  }

  async log(_id: string, _place: object, offset: number, limit: number): Promise<ILogPiece> {
    this.asked.push(limit);
    if (this.failure) {
      const failure = this.failure;
      this.failure = null;
      throw failure;
    }
    return this.piece(offset, limit);
  }

  async *follow(
    _id: string,
    _place: object,
    offset: number,
    signal: AbortSignal
  ): AsyncGenerator<ILogPiece> {
    this.opened++;
    const aborted = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => reject(new Error('aborted')));
      this._break = () => reject(new TypeError('network error'));
    });
    aborted.catch(() => undefined);
    for (;;) {
      await Promise.race([aborted, new Promise(resolve => setTimeout(resolve, 20))]);
      const piece = this.piece(offset, 256 * 1024);
      if (this.streams && (piece.text || piece.ended)) {
        offset = piece.offset;
        yield piece;
        if (piece.ended) {
          return;
        }
      }
    }
  }

  /** Lose the connection of the stream that is open. */
  lose(): void {
    this._break();
  }

  private _break: () => void = () => undefined;
}

export class FakeScreen implements IScreen {
  columns = 100;
  capacity = 20_000;
  /** What is shown: offset of each piece, and its text. */
  pieces: { offset: number; text: string }[] = [];
  at: IPosition | null = null;
  held = 0;
  shows = 0;
  /** What the session is told to be at the top of the view. */
  top: IPosition | null = null;

  get text(): string {
    return this.pieces.map(({ text }) => text).join('');
  }

  async show(chunks: readonly IChunk[], at: IPosition | null): Promise<void> {
    await Promise.resolve();
    this.shows++;
    this.pieces = chunks.map(({ start, text }) => ({ offset: start, text }));
    this.at = at;
  }

  async append(text: string, offset: number | null, hold: boolean): Promise<void> {
    await Promise.resolve();
    this.held += hold ? 1 : 0;
    if (offset === null) {
      this.pieces[this.pieces.length - 1].text += text;
    } else {
      this.pieces.push({ offset, text });
    }
  }

  forget(count: number): void {
    this.pieces.splice(0, count);
  }

  position(): IPosition | null {
    return this.top ?? { offset: this.pieces[0].offset, lines: 0 };
  }
}

/** So many lines of 100 characters, each with its number. */
export function lines(count: number, from = 0): string {
  return Array.from(
    { length: count },
    (_, index) => `${String(from + index).padStart(9, '0')}${' '.repeat(90)}\n`
  ).join('');
}
