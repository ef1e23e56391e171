/**
 * One log being read: which part of it is shown, and what comes to it.
 *
 * Knows neither the DOM nor the terminal. One thing is done at a time: going to another place ends the following, and
 * after each move the session either follows the log's end or looks now and then how much has come to it.
 */
import { type ISignal, Signal } from '@lumino/signaling';

import type { Api, ILogPlace } from '../api';
import type { ILogPiece } from '../tokens';
import { LogStream, sleep, unlessAborted } from './stream';
import { type IChunk, type IPosition, LogWindow, chunkOf } from './window';

/** What shows the text: a terminal. */
export interface IScreen {
  readonly columns: number;
  /** How many rows it keeps. */
  readonly capacity: number;
  /** Show these pieces and nothing else; `at` comes to the top of the view, and without it the end is in view. */
  show(chunks: readonly IChunk[], at: IPosition | null): Promise<void>;
  /** Add text below; `offset` where it stands as a piece of its own, `hold` to leave the view where it is. */
  append(text: string, offset: number | null, hold: boolean): Promise<void>;
  /** So many of the oldest pieces are let go. */
  forget(count: number): void;
  /** What is at the top of the view. */
  position(): IPosition | null;
}

export interface ILogState {
  /** Offsets of what is here. */
  start: number;
  end: number;
  /** Bytes of the whole log, as far as is known. */
  size: number;
  /** Nothing will follow. */
  ended: boolean;
  following: boolean;
  loading: boolean;
  /** Bytes that were passed over to keep up. */
  skipped: number;
  /** One line; "" if all is well. */
  error: string;
}

/** Bytes of a page, at most and at least. */
const PAGE = [1 << 19, 1 << 12];
/** Bytes that are loaded before and after a place that is jumped to. */
const AROUND = 1 << 18;
/** Bytes of a line up to which the server looks for its beginning. */
const LONGEST = 1 << 20;
/** Bytes behind the end at which following jumps there. */
const BEHIND = 4 << 20;
/** Milliseconds that the page has to itself after such a jump. */
const REST = 200;
/** Milliseconds between looks at a log that is not followed. */
const LOOK = 2000;
/** Milliseconds for which changes of the state are gathered. */
const GATHER = 100;

export class LogSession {
  constructor(
    private readonly _api: Pick<Api, 'log' | 'follow'>,
    readonly id: string,
    readonly place: ILogPlace,
    private readonly _screen: IScreen
  ) {
    this._stream = new LogStream(_api, id, place);
  }

  /** The state has changed; at most ten times a second. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get state(): Readonly<ILogState> {
    return this._state;
  }

  /** Show the end of the log and follow it. */
  toEnd(): Promise<void> {
    return this._go(async () => {
      await this._tail();
      this._set({ following: true, skipped: 0 });
    });
  }

  toStart(): Promise<void> {
    return this._go(async () => {
      const first = await this._page(() => 0);
      this._set({ following: false, skipped: 0 });
      await this._show([first], { offset: first.start, lines: 0 });
    });
  }

  /** Show the line at `offset` below `above` lines that stand before it. */
  jump(offset: number, above: number): Promise<void> {
    return this._go(async () => {
      this._set({ following: false, skipped: 0 });
      await this._showAround(offset, -above);
    });
  }

  /** The view has come to the first line that is here: load the page before it, and leave the view where it is. */
  async older(): Promise<void> {
    await this.follow(false);
    await this._turn(async () => {
      const { start } = this._window;
      if (start > 0) {
        this._window.prepend(await this._before(start, PAGE[0]));
        await this._redraw(this._screen.position());
      }
    });
  }

  /** The view has come to the last line that is here: load the page after it, or follow where there is none. */
  async newer(): Promise<void> {
    if (!this._state.following) {
      await this._turn(async () => {
        const piece = await this._fetch(this._window.end, this._limit);
        // An unfinished line is not sent.
        const last = piece.size - piece.start <= this._limit;
        this._set({ following: last });
        await this._append(piece, !last);
      });
    }
  }

  /** Follow the end of the log, or stay where the view is. */
  async follow(on: boolean): Promise<void> {
    if (on !== this._state.following) {
      this._set({ following: on, skipped: 0 });
      await (on ? this.toEnd() : this._go(async () => undefined));
    }
  }

  /** Write what is here anew, as the terminal has other columns. */
  async redraw(): Promise<void> {
    await this._working;
    if (this._failed || this._window.chunks.length === 0) {
      return;
    }
    const at = this._state.following ? null : this._screen.position();
    await this._go(async () => {
      const { columns, capacity } = this._screen;
      this._window.measure(columns);
      if (!this._window.chunks.some(({ rows }) => rows > capacity / 2)) {
        await this._redraw(at);
      } else if (at) {
        // No page would fit beside one that takes so many rows now: smaller ones are loaded.
        await this._showAround(at.offset, at.lines);
      } else {
        await this._tail();
      }
    });
  }

  /** Do again what has failed. */
  retry(): Promise<void> {
    return this._go(this._failed ?? (async () => undefined));
  }

  /** Ask for nothing while no one looks. */
  pause(paused: boolean): void {
    if (paused !== this._paused) {
      this._paused = paused;
      if (paused) {
        this._abort.abort();
      } else {
        void this.retry();
      }
    }
  }

  dispose(): void {
    this._paused = true;
    this._abort.abort();
    clearTimeout(this._gathering);
    Signal.clearData(this);
  }

  /** Load another page, once though it is asked for at each turn of the wheel. */
  private async _turn(page: () => Promise<void>): Promise<void> {
    if (!this._turning) {
      this._turning = true;
      try {
        await this._go(page);
      } finally {
        this._turning = false;
      }
    }
  }

  /** End what goes on, do `work`, then follow or look. The promise ends with the work. */
  private _go(work: () => Promise<void>): Promise<void> {
    this._abort.abort();
    const { signal } = (this._abort = new AbortController());
    const done = this._busy.then(() => this._do(work, signal));
    this._working = done;
    this._busy = done.then(() => this._rest(signal));
    return done;
  }

  private async _do(work: () => Promise<void>, signal: AbortSignal): Promise<void> {
    if (!signal.aborted) {
      this._failed = work;
      this._signal = signal;
      this._set({ loading: true, error: '' });
      try {
        await work();
        this._failed = null;
      } catch (error) {
        if (!signal.aborted) {
          this._set({ error: said(error) });
        }
      } finally {
        this._set({ loading: false });
      }
    }
  }

  private async _rest(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this._paused && !this._failed && !this._complete()) {
      try {
        await (this._state.following ? this._keepUp(signal) : this._look(signal));
      } catch (error) {
        if (!signal.aborted) {
          this._set({ error: said(error) });
          await sleep(LOOK, signal);
        }
      }
    }
  }

  /** There is nothing more to know. */
  private _complete(): boolean {
    const { ended, following, size } = this._state;
    return ended && (!following || this._window.end >= size);
  }

  private async _look(signal: AbortSignal): Promise<void> {
    await sleep(LOOK, signal);
    if (!signal.aborted) {
      await this._fetch(-1, 1);
      this._set({ error: '' });
    }
  }

  /** Take what comes until the log ends, or so much has come that only its end is fetched. */
  private async _keepUp(signal: AbortSignal): Promise<void> {
    const trouble = (error: string) => this._set({ error });
    for await (const piece of this._stream.pieces(this._window.end, signal, trouble)) {
      this._set({ error: '' });
      if (piece.size - piece.offset > BEHIND) {
        const { end } = this._window;
        await this._tail();
        this._set({ skipped: this._state.skipped + Math.max(0, this._window.start - end) });
        await sleep(REST, signal);
        return;
      }
      await this._append(piece, false);
    }
  }

  private async _append(piece: ILogPiece, hold: boolean): Promise<void> {
    if (piece.offset > this._window.end) {
      const added = chunkOf(piece, this._screen.columns);
      const apart = this._window.append(added);
      await this._screen.append(added.text, apart ? added.start : null, hold);
      this._screen.forget(this._window.trim(this._screen.capacity));
    }
    this._learn(piece);
  }

  private async _tail(): Promise<void> {
    await this._show([await this._page(size => -size)], null);
  }

  private async _showAround(offset: number, lines: number): Promise<void> {
    const at = await this._page(() => offset, AROUND);
    const before = at.start > 0 ? await this._before(at.start, AROUND) : [];
    await this._show([...before, at], { offset: at.start, lines });
  }

  /** The pieces from `limit` bytes before the line at `end`, or fewer, up to it. */
  private async _before(end: number, limit: number): Promise<IChunk[]> {
    // A piece begins at the first line after where it is asked for: half as much cannot reach beyond the end,
    let first = await this._page(
      size => Math.max(0, end - 2 * size),
      Math.ceil(Math.min(limit, end) / 2)
    );
    if (first.start >= end || first.end > end) {
      // but where a line is longer than that.
      const { start } = await this._fetch(Math.max(0, end - LONGEST), 1);
      first = await this._page(() => start, end - start);
    }
    const chunks = [first];
    for (let last = first; last.end < end; last = chunks[chunks.length - 1]) {
      const { end: from } = last;
      chunks.push(await this._page(() => from, end - from));
    }
    return chunks;
  }

  /** A page; a smaller one where lines are so short that it would fill the terminal. */
  private async _page(from: (size: number) => number, limit = PAGE[0]): Promise<IChunk> {
    const room = this._screen.capacity / 4;
    for (;;) {
      const size = Math.min(limit, this._limit);
      const piece = await this._fetch(from(size), size);
      const page = chunkOf(piece, this._screen.columns);
      if (page.rows <= room || size <= PAGE[1]) {
        return page;
      }
      this._limit = Math.max(PAGE[1], Math.floor((0.8 * size * room) / page.rows));
    }
  }

  private async _fetch(offset: number, limit: number): Promise<ILogPiece> {
    const signal = this._signal;
    const piece = await unlessAborted(this._api.log(this.id, this.place, offset, limit), signal);
    this._learn(piece);
    return piece;
  }

  /** Once a piece that nothing follows was seen, the log has ended. */
  private _learn({ size, ended }: ILogPiece): void {
    this._set({ size: Math.max(size, this._state.size), ended: ended || this._state.ended });
  }

  private async _show(chunks: IChunk[], at: IPosition | null): Promise<void> {
    this._window.replace(chunks);
    await this._redraw(at);
  }

  private async _redraw(at: IPosition | null): Promise<void> {
    this._window.trim(this._screen.capacity, at?.offset);
    await this._screen.show(this._window.chunks, at);
  }

  private _set(change: Partial<ILogState>): void {
    const { start, end } = this._window;
    this._state = { ...this._state, start, end, ...change };
    this._gathering ??= setTimeout(() => {
      this._gathering = undefined;
      this._changed.emit();
    }, GATHER);
  }

  private readonly _window = new LogWindow();
  private readonly _stream: LogStream;
  private readonly _changed = new Signal<this, void>(this);
  private _state: ILogState = {
    start: 0,
    end: 0,
    size: 0,
    ended: false,
    following: false,
    loading: false,
    skipped: 0,
    error: ''
  };
  /** Bytes to ask for, fewer than a page where lines are short. */
  private _limit = PAGE[0];
  private _abort = new AbortController();
  private _signal = this._abort.signal;
  /** Ends with the work that is being done, and with the rest after it. */
  private _working: Promise<void> = Promise.resolve();
  private _busy: Promise<void> = Promise.resolve();
  private _failed: (() => Promise<void>) | null = null;
  private _paused = false;
  private _turning = false;
  private _gathering: ReturnType<typeof setTimeout> | undefined;
}

function said(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
