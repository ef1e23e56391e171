/** A search through a whole log, which the server does. */
import { type ISignal, Signal } from '@lumino/signaling';

import type { Api, ILogPlace } from '../api';
import type { ILogMatches } from '../tokens';

export class LogSearch {
  constructor(
    private readonly _api: Pick<Api, 'search'>,
    private readonly _id: string,
    private readonly _place: ILogPlace
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What was searched for last; "" if nothing. */
  get text(): string {
    return this._text;
  }

  get found(): ILogMatches['matches'] {
    return this._found;
  }

  /** There are more than were sent. */
  get more(): boolean {
    return this._more;
  }

  get busy(): boolean {
    return this._busy;
  }

  get error(): string {
    return this._error;
  }

  /** Which match was gone to; -1 if none. */
  get current(): number {
    return this._current;
  }

  set current(index: number) {
    this._current = index;
    this._changed.emit();
  }

  /** The index of the match before (-1) or after (1) the current one, around the ends; -1 where there are none. */
  step(by: 1 | -1): number {
    const count = this._found.length;
    if (count === 0) {
      return -1;
    }
    return this._current < 0 ? (by > 0 ? 0 : count - 1) : (this._current + by + count) % count;
  }

  /** The index of the first match at an offset or after it, else of the last; -1 where there are none. */
  near(offset: number): number {
    const index = this._found.findIndex(match => match.offset >= offset);
    return index < 0 ? this._found.length - 1 : index;
  }

  /** Search for a text; whether the matches are those of this very search. */
  async search(text: string): Promise<boolean> {
    const turn = ++this._turn;
    this._set(text, { matches: [], more: false }, text !== '', '');
    if (!text) {
      return false;
    }
    try {
      const answer = await this._api.search(this._id, this._place, text);
      if (turn === this._turn) {
        this._set(text, answer, false, '');
      }
    } catch (error) {
      if (turn === this._turn) {
        const said = error instanceof Error ? error.message : String(error);
        this._set(text, { matches: [], more: false }, false, said);
      }
    }
    return turn === this._turn;
  }

  private _set(text: string, { matches, more }: ILogMatches, busy: boolean, error: string): void {
    this._text = text;
    this._found = matches;
    this._more = more;
    this._busy = busy;
    this._error = error;
    this._current = -1;
    this._changed.emit();
  }

  private readonly _changed = new Signal<this, void>(this);
  private _text = '';
  private _found: ILogMatches['matches'] = [];
  private _more = false;
  private _busy = false;
  private _error = '';
  private _current = -1;
  private _turn = 0;
}
