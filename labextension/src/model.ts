/** The list of jobs, kept up to date by one loop of fetches. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { JSONExt, type ReadonlyJSONValue } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { Poll } from '@lumino/polling';
import { Signal, type ISignal } from '@lumino/signaling';

import type { Api } from './api';
import { API } from './tokens';
import type { IBackend, IJobRow, IJobs, IJobsModel, JobState } from './tokens';
import { isOver } from './words';

/** The id that the server's events carry; one says no more than that something changed. */
export const EVENT = 'https://events.jupyter.org/jupyter_konduktor/job/v1';

/** Events make it ask at most once in this time. */
const GATHER_MS = 200;

/** How slow the poll becomes while events come, and jobs run, for one may have been lost; or while nobody answers. */
const SLOW_MS = 15_000;

/** How slow it becomes while nothing runs. */
const SLOWEST_MS = 60_000;

/** A job in another state than before; `before` is null for one that was not known. */
export interface IStateChange {
  job: IJobRow;
  before: JobState | null;
}

/** The stream of Jupyter's events, as far as it is used here. */
export interface IEvents {
  connect(slot: (sender: unknown, event: { schema_id: string }) => void): boolean;
  disconnect(slot: (sender: unknown, event: { schema_id: string }) => void): boolean;
}

/**
 * Keeps the jobs of the server.
 *
 * An event makes it ask the server for what changed. Whether the stream of events is alive cannot be asked, so a poll
 * runs beside it: slowly while each change it meets was announced, and at its full pace while it meets others, or shows
 * the jobs of other users, of whose changes nobody tells.
 */
export class JobsModel implements IJobsModel, IDisposable {
  constructor(options: JobsModel.IOptions) {
    this._api = options.api;
    this._events = options.events ?? null;
    this._connected = options.connected ?? (() => true);
    this._trans = options.trans;
    this._poll = new Poll({
      name: 'jupyter-konduktor:jobs',
      factory: async () => {
        await this.refresh();
        if (this._error) {
          throw new Error(this._error);
        }
      },
      frequency: { interval: this._interval, backoff: 2, max: SLOWEST_MS },
      standby: () => !this._connected() || 'when-hidden'
    });
    this._events?.connect(this._onEvent);
    document.addEventListener('visibilitychange', this._onVisible);
    window.addEventListener('online', this._onOnline);
  }

  get jobs(): readonly IJobRow[] {
    return this._jobs;
  }

  get backends(): readonly IBackend[] {
    return this._backends;
  }

  get error(): string {
    return this._error;
  }

  get ready(): boolean {
    return this._ready;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get stateChanged(): ISignal<this, IStateChange> {
    return this._stateChanged;
  }

  get allUsers(): boolean {
    return this._allUsers;
  }
  set allUsers(value: boolean) {
    if (value !== this._allUsers) {
      this._allUsers = value;
      this._seq = null;
      this._changed.emit();
      void this.refresh();
    }
  }

  /** Milliseconds from one poll to the next while jobs run and no events come. */
  get interval(): number {
    return this._interval;
  }
  set interval(value: number) {
    this._interval = value;
    this._pace(true);
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._poll.dispose();
    this._events?.disconnect(this._onEvent);
    document.removeEventListener('visibilitychange', this._onVisible);
    window.removeEventListener('online', this._onOnline);
    clearTimeout(this._timer);
    Signal.clearData(this);
  }

  get(id: string): IJobRow | undefined {
    return this._byId.get(id);
  }

  /** Ask the server now; of calls during a fetch, one more fetch answers all. It never rejects: see `error`. */
  refresh(): Promise<void> {
    this._wanted = true;
    this._working ??= this._work().finally(() => {
      this._working = null;
    });
    return this._working;
  }

  private async _work(): Promise<void> {
    while (this._wanted && !this.isDisposed) {
      this._wanted = false;
      const allUsers = this._allUsers;
      try {
        await this._meet();
        const since = this._seq === null ? undefined : { epoch: this._epoch, seq: this._seq };
        const answer = await this._api.jobs(since, allUsers);
        if (allUsers === this._allUsers && !this.isDisposed) {
          this._take(answer);
        }
      } catch (error) {
        this._fail(error instanceof Error ? error.message : String(error));
      }
    }
  }

  /** Once for each server: whether its part speaks as this one does. */
  private async _meet(): Promise<void> {
    if (this._met) {
      return;
    }
    const about = await this._api.about();
    if (about.api < API) {
      throw new Error(
        this._trans.__(
          'The server has jupyter_konduktor %1, which is older than this page: upgrade it and restart the server',
          about.version
        )
      );
    }
    if (about.api > API) {
      throw new Error(
        this._trans.__(
          'The server has jupyter_konduktor %1, which is newer than this page: reload the page',
          about.version
        )
      );
    }
    this._met = true;
  }

  private _take(answer: IJobs): void {
    const first = !this._ready;
    const differs = answer.full || answer.jobs.length > 0 || answer.gone.length > 0;
    const shown = differs || this._error !== '' || !same(answer.backends, this._backends);
    const news = answer.full ? this._replace(answer.jobs) : this._merge(answer);
    if (this._epoch !== '' && answer.epoch !== this._epoch) {
      // Another server, which may be of another version.
      this._met = false;
    }
    this._epoch = answer.epoch;
    this._seq = answer.seq;
    this._backends = answer.backends;
    this._error = '';
    this._ready = true;
    this._pushed &&= this._announced || !differs;
    this._announced = false;
    this._pace(differs);
    if (shown) {
      this._changed.emit();
    }
    if (!first) {
      news.forEach(change => this._stateChanged.emit(change));
    }
  }

  /** Take a whole list; what it holds that was not known is no news. */
  private _replace(jobs: IJobRow[]): IStateChange[] {
    const before = this._byId;
    this._byId = new Map(jobs.map(job => [job.id, job]));
    this._jobs = jobs.slice().sort(newestFirst);
    return jobs.flatMap(job => {
      const known = before.get(job.id);
      return known && known.state !== job.state ? [{ job, before: known.state }] : [];
    });
  }

  private _merge({ jobs, gone }: IJobs): IStateChange[] {
    if (jobs.length === 0 && gone.length === 0) {
      return [];
    }
    const news: IStateChange[] = [];
    const added: IJobRow[] = [];
    for (const job of jobs) {
      const known = this._byId.get(job.id);
      if (!known) {
        added.push(job);
      }
      if (known?.state !== job.state) {
        news.push({ job, before: known?.state ?? null });
      }
      this._byId.set(job.id, job);
    }
    gone.forEach(id => this._byId.delete(id));
    // What is nearly in order is sorted in nearly no time.
    this._jobs = this._jobs
      .filter(job => this._byId.has(job.id))
      .map(job => this._byId.get(job.id)!)
      .concat(added)
      .sort(newestFirst);
    return news;
  }

  private _fail(error: string): void {
    this._met = false;
    // Nobody knows what is missed until the server answers.
    this._pushed = false;
    this._setPace(this._interval, Math.max(this._interval, SLOW_MS));
    if (error !== this._error && !this.isDisposed) {
      this._error = error;
      this._changed.emit();
    }
  }

  /** At full pace while something may change unannounced, else slower with each poll that brings nothing. */
  private _pace(differs: boolean): void {
    const running = this._jobs.some(job => !isOver(job.state));
    const busy = this._allUsers || (!this._pushed && (differs || running));
    const slower = Math.min(this._poll.frequency.interval * 2, running ? SLOW_MS : SLOWEST_MS);
    this._setPace(busy ? this._interval : slower, SLOWEST_MS);
  }

  /** `max` is how slow the poll may become while it fails. */
  private _setPace(interval: number, max: number): void {
    const before = this._poll.frequency.interval;
    this._poll.frequency = { ...this._poll.frequency, interval, max };
    if (interval < before) {
      // It may be asleep for as long as it was told before.
      void this._poll.schedule();
    }
  }

  private _onEvent = (_: unknown, event: { schema_id: string }): void => {
    if (event.schema_id !== EVENT) {
      return;
    }
    this._pushed = true;
    this._announced = true;
    if (document.visibilityState === 'hidden') {
      return;
    }
    this._timer ??= setTimeout(
      () => {
        this._timer = undefined;
        this._asked = Date.now();
        void this.refresh();
      },
      Math.max(0, this._asked + GATHER_MS - Date.now())
    );
  };

  private _onVisible = (): void => {
    if (document.visibilityState === 'visible' && this._connected()) {
      void this.refresh();
    }
  };

  private _onOnline = (): void => {
    if (document.visibilityState === 'visible') {
      void this.refresh();
    }
  };

  private readonly _api: Pick<Api, 'about' | 'jobs'>;
  private readonly _events: IEvents | null;
  private readonly _connected: () => boolean;
  private readonly _trans: TranslationBundle;
  private readonly _poll: Poll;
  private readonly _changed = new Signal<this, void>(this);
  private readonly _stateChanged = new Signal<this, IStateChange>(this);
  private _jobs: readonly IJobRow[] = [];
  private _byId = new Map<string, IJobRow>();
  private _backends: readonly IBackend[] = [];
  private _error = '';
  private _allUsers = false;
  private _interval = 3000;
  private _ready = false;
  private _epoch = '';
  /** What has been seen of this epoch; null: nothing of what is asked for now. */
  private _seq: number | null = null;
  private _met = false;
  private _wanted = false;
  private _working: Promise<void> | null = null;
  /** When an event made it ask last. */
  private _asked = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  /** Events have come, and nothing has changed without one since. */
  private _pushed = false;
  /** An event has come since the last answer. */
  private _announced = false;
}

export namespace JobsModel {
  export interface IOptions {
    api: Pick<Api, 'about' | 'jobs'>;
    trans: TranslationBundle;
    /** Without it there is the poll only. */
    events?: IEvents;
    /** Whether the server can be reached, as far as JupyterLab knows. */
    connected?: () => boolean;
  }
}

function newestFirst(a: IJobRow, b: IJobRow): number {
  return b.created - a.created || (a.id < b.id ? -1 : 1);
}

function same(a: readonly IBackend[], b: readonly IBackend[]): boolean {
  return JSONExt.deepEqual(a as unknown as ReadonlyJSONValue, b as unknown as ReadonlyJSONValue);
}
