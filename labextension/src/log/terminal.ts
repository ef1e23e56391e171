/** The terminal that shows a part of a log. */
import { type ISignal, Signal } from '@lumino/signaling';
import { FitAddon } from '@xterm/addon-fit';
import { type IMarker, Terminal } from '@xterm/xterm';

import { inert } from './inert';
import type { IScreen } from './session';
import { themeOf } from './theme';
import type { IChunk, IPosition } from './window';

/** Cells that are kept, 12 bytes each, and rows at most. */
const CELLS = 4_000_000;
const ROWS = 25_000;
/** Columns of a line that is not wrapped; the longer ones are wrapped here. */
const UNWRAPPED = 500;
/** Characters that are written at once, and how many such slices may be under way. */
const SLICE = 1 << 14;
const UNDER_WAY = 4;
/** Milliseconds that the size must stand still before the text is written anew. */
const SETTLE = 150;

/** Whether the first or the last line that is here is in view. */
export type Where = 'top' | 'middle' | 'bottom';

interface IMark {
  offset: number;
  marker: IMarker;
}

export class TerminalScreen implements IScreen {
  constructor(
    private readonly _host: HTMLElement,
    label: string,
    screenReaderMode: boolean
  ) {
    this._terminal = new Terminal({
      allowTransparency: false,
      convertEol: true,
      cursorInactiveStyle: 'none',
      cursorBlink: false,
      disableStdin: true,
      linkHandler: { activate: () => undefined },
      minimumContrastRatio: 4.5,
      screenReaderMode,
      scrollback: ROWS,
      ...themeOf(_host)
    });
    inert(this._terminal);
    this._terminal.loadAddon(this._fit);
    this._terminal.open(_host);
    this._terminal.textarea!.setAttribute('aria-label', label);
    this._terminal.textarea!.readOnly = true;
    this._terminal.attachCustomKeyEventHandler(event => this._key(event));
    this._terminal.onScroll(() => this._scrolled());
    _host.addEventListener('wheel', this._wheel, { passive: true });
    this._observer = new ResizeObserver(() => this._settle());
    this._observer.observe(_host);
    this._resize();
  }

  /** The text must be written anew, for other columns. */
  get reshaped(): ISignal<this, void> {
    return this._reshaped;
  }

  /** The user has come to an end of what is here, or has left the last line. */
  get moved(): ISignal<this, Where> {
    return this._moved;
  }

  get columns(): number {
    return this._columns;
  }

  get capacity(): number {
    return Math.min(ROWS, Math.floor(CELLS / this._columns));
  }

  get rows(): number {
    return this._terminal.rows;
  }

  set wrap(wrap: boolean) {
    this._wrap = wrap;
    this._settle(0);
  }

  async show(chunks: readonly IChunk[], at: IPosition | null): Promise<void> {
    this._held++;
    const still = this._still();
    try {
      this._clear();
      for (const { start, text } of chunks) {
        this._mark(start);
        await this._write(text);
      }
      if (at) {
        this._scrollTo(at);
      } else {
        this._terminal.scrollToBottom();
      }
    } finally {
      this._release();
      requestAnimationFrame(() => still.remove());
    }
  }

  async append(text: string, offset: number | null, hold: boolean): Promise<void> {
    const at = hold ? this.position() : null;
    if (offset !== null) {
      this._mark(offset);
    }
    if (!at) {
      return this._write(text);
    }
    this._held++;
    try {
      await this._write(text);
      this._scrollTo(at);
    } finally {
      this._release();
    }
  }

  forget(count: number): void {
    this._marks.splice(0, count).forEach(({ marker }) => marker.dispose());
  }

  position(): IPosition | null {
    const top = this._terminal.buffer.active.viewportY;
    const marks = this._marks.filter(({ marker }) => !marker.isDisposed);
    const mark = marks.filter(({ marker }) => marker.line <= top).pop() ?? marks[0];
    return mark ? { offset: mark.offset, lines: this._lines(mark.marker.line, top) } : null;
  }

  /** Select the first occurrence of a text in the line that a piece begins with. */
  select(text: string, offset: number): void {
    const mark = this._marks.find(mark => mark.offset === offset && !mark.marker.isDisposed);
    if (!mark) {
      return;
    }
    const buffer = this._terminal.buffer.active;
    const row = mark.marker.line;
    let line = '';
    for (let next = row; next === row || buffer.getLine(next)?.isWrapped; next++) {
      line += buffer.getLine(next)?.translateToString(false) ?? '';
    }
    const at = line.toLowerCase().indexOf(text.toLowerCase());
    if (at >= 0) {
      const columns = this._terminal.cols;
      this._terminal.select(at % columns, row + Math.floor(at / columns), text.length);
      this._bringIntoView(at % columns, text.length);
    }
  }

  focus(): void {
    this._terminal.focus();
  }

  /** The colours or the font of the page have changed. */
  restyle(): void {
    Object.assign(this._terminal.options, themeOf(this._host));
    this._settle();
  }

  dispose(): void {
    clearTimeout(this._settling);
    cancelAnimationFrame(this._frame);
    this._observer.disconnect();
    this._host.removeEventListener('wheel', this._wheel);
    Signal.clearData(this);
    this._terminal.dispose();
  }

  private _release(): void {
    this._held--;
    this._at = this._where();
  }

  /** Empty the terminal, which also takes its new size then, as rows need not be moved. */
  private _clear(): void {
    this._marks = [];
    this._terminal.reset();
    this._terminal.options.scrollback = this.capacity;
    this._terminal.resize(this._columns, this._rows);
  }

  /** Write in slices that the page has time between, and return when all are shown. */
  private async _write(text: string): Promise<void> {
    const underWay: Promise<void>[] = [];
    for (let at = 0; at < text.length; at += SLICE) {
      const slice = text.slice(at, at + SLICE);
      underWay.push(new Promise(resolve => this._terminal.write(slice, resolve)));
      if (underWay.length >= UNDER_WAY) {
        await underWay.shift();
      }
    }
    await Promise.all(underWay);
  }

  private _mark(offset: number): void {
    const marker = this._terminal.registerMarker();
    this._marks.push({ offset, marker });
  }

  /** How many lines of the log begin between two rows; below 0 where `to` is above `from`. */
  private _lines(from: number, to: number): number {
    const buffer = this._terminal.buffer.active;
    let lines = 0;
    for (let row = Math.min(from, to) + 1; row <= Math.max(from, to); row++) {
      lines += buffer.getLine(row)?.isWrapped ? 0 : 1;
    }
    return from <= to ? lines : -lines;
  }

  /** The row at which the line begins that is so many lines after (or before) a row. */
  private _row(from: number, lines: number): number {
    const buffer = this._terminal.buffer.active;
    const step = Math.sign(lines);
    let row = from;
    for (let left = Math.abs(lines); left > 0 && row + step >= 0 && row + step < buffer.length;) {
      row += step;
      left -= buffer.getLine(row)?.isWrapped ? 0 : 1;
    }
    return row;
  }

  private _scrollTo({ offset, lines }: IPosition): void {
    const mark = this._marks.find(mark => mark.offset === offset && !mark.marker.isDisposed);
    this._terminal.scrollToLine(this._row(Math.max(0, mark?.marker.line ?? 0), lines));
  }

  /** Scroll sideways where lines are not wrapped. */
  private _bringIntoView(column: number, count: number): void {
    const { scrollLeft, clientWidth, scrollWidth } = this._host;
    const cell = scrollWidth / this._columns;
    if (column * cell < scrollLeft || (column + count) * cell > scrollLeft + clientWidth) {
      this._host.scrollLeft = column * cell - clientWidth / 4;
    }
  }

  /** A picture of what is in view, over the terminal while that is written anew. */
  private _still(): { remove(): void } {
    const screen = this._host.querySelector('.xterm-screen')!;
    const still = screen.cloneNode(true) as HTMLElement;
    still.classList.add('jp-KonduktorLog-still');
    still.setAttribute('aria-hidden', 'true');
    screen.parentElement!.append(still);
    return still;
  }

  /** Tell where the user has gone; what is written moves the view only while the last line is in it. */
  private _scrolled(): void {
    if (this._held === 0) {
      const where = this._where();
      if (where !== this._at) {
        this._at = where;
        this._moved.emit(where);
      }
    }
  }

  private _where(): Where {
    const { viewportY, baseY } = this._terminal.buffer.active;
    if (viewportY >= baseY) {
      return 'bottom';
    }
    return viewportY <= Math.max(0, this._marks[0]?.marker.line ?? 0) ? 'top' : 'middle';
  }

  /** Turning the wheel on does not scroll where there is nothing more. */
  private readonly _wheel = (event: WheelEvent): void => {
    const { viewportY, baseY } = this._terminal.buffer.active;
    if (event.deltaY < 0 && viewportY === 0) {
      this._moved.emit('top');
    } else if (event.deltaY > 0 && viewportY >= baseY) {
      this._moved.emit('bottom');
    }
  };

  /** Keys scroll; what else is typed is not the terminal's. */
  private _key(event: KeyboardEvent): boolean {
    if (event.type === 'keydown' && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const { viewportY, baseY } = this._terminal.buffer.active;
      const lines = {
        ArrowUp: -1,
        ArrowDown: 1,
        PageUp: 1 - this.rows,
        PageDown: this.rows - 1,
        Home: -viewportY,
        End: baseY - viewportY
      }[event.key];
      if (lines !== undefined) {
        event.preventDefault();
        this._terminal.scrollLines(lines);
        if (viewportY === 0 && lines <= 0) {
          this._moved.emit('top');
        }
      }
    }
    return false;
  }

  private _settle(ms = SETTLE): void {
    clearTimeout(this._settling);
    this._settling = setTimeout(() => this._resize(), ms);
  }

  /** Take the size that fits: other rows now, other columns when the text is written anew. */
  private _resize(): void {
    const fitting = this._fit.proposeDimensions();
    if (!fitting || !(fitting.cols > 0) || this._host.clientHeight === 0) {
      return;
    }
    const columns = this._wrap ? fitting.cols : Math.max(UNWRAPPED, fitting.cols);
    this._rows = Math.max(1, fitting.rows);
    if (columns !== this._columns) {
      this._columns = columns;
      this._reshaped.emit();
    } else if (this._rows !== this._terminal.rows) {
      this._resizeRows();
    }
  }

  /** The line at the top stays there, where the last one is not in view. */
  private _resizeRows(): void {
    const at = this._where() === 'bottom' ? null : this.position();
    this._held++;
    this._terminal.resize(this._columns, this._rows);
    this._frame = requestAnimationFrame(() => {
      // The terminal has moved its own view by now.
      if (at) {
        this._scrollTo(at);
      }
      this._release();
    });
  }

  private readonly _terminal: Terminal;
  private readonly _fit = new FitAddon();
  private readonly _observer: ResizeObserver;
  private readonly _reshaped = new Signal<this, void>(this);
  private readonly _moved = new Signal<this, Where>(this);
  private _marks: IMark[] = [];
  private _columns = 80;
  private _rows = 24;
  private _wrap = true;
  /** While above 0 the view is moved from here, not by the user. */
  private _held = 0;
  private _at: Where = 'bottom';
  private _frame = 0;
  private _settling: ReturnType<typeof setTimeout> | undefined;
}
