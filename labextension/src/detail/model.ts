/** What is known of the job that a view shows. */
import { type ISignal, Signal } from '@lumino/signaling';

import { type Api, ApiError } from '../api';
import type { IJobDetail, IJobRow, IJobsModel } from '../tokens';
import { isOver } from '../words';

export type Tab = 'overview' | 'log' | 'result';

/** Milliseconds between questions about a job that the list does not hold, as those of others. */
const ASK = 5000;

export class DetailModel {
  constructor(
    private readonly _api: Pick<Api, 'job'>,
    private readonly _jobs: IJobsModel,
    readonly id: string
  ) {
    _jobs.changed.connect(this._listed, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The job, as new as the list has it. */
  get job(): IJobRow | null {
    return this._row ?? this._detail;
  }

  get detail(): IJobDetail | null {
    return this._detail;
  }

  /** One line that says why nothing new is known; "" if it is. */
  get error(): string {
    return this._error;
  }

  /** The job is there no more; what was known of it stays. */
  get gone(): boolean {
    return this._gone;
  }

  get shown(): boolean {
    return this._shown;
  }

  /** Whether someone looks; nothing is asked for while not. */
  set shown(shown: boolean) {
    if (shown !== this._shown) {
      this._shown = shown;
      clearTimeout(this._timer);
      if (shown) {
        this._listed();
      }
      this._changed.emit();
    }
  }

  get tab(): Tab {
    return this._tab;
  }

  set tab(tab: Tab) {
    this._tab = tab;
    this._changed.emit();
  }

  get node(): number {
    return this._node;
  }

  /** Of which attempt the log is shown, from 0: the last unless one was chosen. */
  get attempt(): number {
    return this._attempt ?? this.job?.attempt ?? 0;
  }

  /** Show the log of a node and an attempt; the last attempt, also of those to come, where none is named. */
  openLog(node: number, attempt?: number): void {
    this._node = node;
    this._attempt = attempt === this.job?.attempt ? undefined : attempt;
    this.tab = 'log';
  }

  async refresh(): Promise<void> {
    clearTimeout(this._timer);
    const turn = ++this._turn;
    try {
      const detail = await this._api.job(this.id);
      if (turn === this._turn) {
        this._detail = detail;
        this._error = '';
        this._gone = false;
      }
    } catch (error) {
      if (turn === this._turn) {
        // Without a list of jobs the server has no part of ours, and knows nothing of this job either.
        this._gone = error instanceof ApiError && error.status === 404 && !this._jobs.error;
        this._error = this._gone ? '' : error instanceof Error ? error.message : String(error);
      }
    }
    if (turn === this._turn && !this._disposed) {
      if (
        this._shown &&
        !this._row &&
        !this._gone &&
        !(this._detail && isOver(this._detail.state))
      ) {
        this._timer = setTimeout(() => void this.refresh(), ASK);
      }
      this._changed.emit();
    }
  }

  dispose(): void {
    this._disposed = true;
    clearTimeout(this._timer);
    this._jobs.changed.disconnect(this._listed, this);
    Signal.clearData(this);
  }

  /** Ask again where the list has another row of this job than was asked about. */
  private _listed(): void {
    const row = this._jobs.get(this.id) ?? null;
    if (this._shown && (row !== this._row || !this._detail)) {
      this._row = row;
      void this.refresh();
      this._changed.emit();
    }
  }

  private readonly _changed = new Signal<this, void>(this);
  private _row: IJobRow | null = null;
  private _detail: IJobDetail | null = null;
  private _error = '';
  private _gone = false;
  private _shown = false;
  private _disposed = false;
  private _tab: Tab = 'overview';
  private _node = 0;
  private _attempt: number | undefined;
  private _turn = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
}
