/** Jobs and a server for the tests. */
import { Signal } from '@lumino/signaling';

import { API } from '../tokens';
import type { IAbout, IBackend, IJobRow, IJobs, IJobsModel } from '../tokens';
import type { IStateChange } from '../model';

export function row(name: string, over: Partial<IJobRow> = {}): IJobRow {
  return {
    id: `local/${name}`,
    backend: 'local',
    name,
    uid: name,
    state: 'Running',
    reason: '',
    message: '',
    position: null,
    queue: 'user-queue',
    user: 'ada',
    mine: true,
    kind: 'cell',
    attempt: 0,
    created: 1000,
    started: 1000,
    finished: null,
    since: 1000,
    asked: { text: 'H100:8', gpus: 8, gpu_kind: 'H100', cpus: null, memory: null, nodes: 1 },
    items: null,
    exit_code: null,
    stuck: false,
    cancelling: false,
    notebook: '',
    cell: '',
    ...over
  };
}

/** Answers as the routes do, and counts what it is asked. */
export class FakeServer {
  epoch = 'first';
  seq = 0;
  api = API;
  failure = '';
  backends: IBackend[] = [];
  asked: { since?: { epoch: string; seq: number }; allUsers: boolean }[] = [];

  put(...jobs: IJobRow[]): void {
    for (const job of jobs) {
      this.seq += 1;
      this._gone.delete(job.id);
      this._jobs.set(job.id, { job, seq: this.seq });
    }
  }

  drop(id: string): void {
    this.seq += 1;
    this._jobs.delete(id);
    this._gone.set(id, this.seq);
  }

  async about(): Promise<IAbout> {
    this._perhapsFail();
    return { version: '9.9', api: this.api, user: 'ada' };
  }

  async jobs(since?: { epoch: string; seq: number }, allUsers = false): Promise<IJobs> {
    this.asked.push({ since, allUsers });
    this._perhapsFail();
    const full = since?.epoch !== this.epoch;
    const after = full ? 0 : since.seq;
    return {
      epoch: this.epoch,
      seq: this.seq,
      full,
      jobs: [...this._jobs.values()]
        .filter(({ job, seq }) => seq > after && (allUsers || job.mine))
        .map(({ job }) => job),
      gone: full ? [] : [...this._gone].filter(([, seq]) => seq > after).map(([id]) => id),
      backends: this.backends
    };
  }

  private _perhapsFail(): void {
    if (this.failure) {
      throw new Error(this.failure);
    }
  }

  private _jobs = new Map<string, { job: IJobRow; seq: number }>();
  private _gone = new Map<string, number>();
}

/** A list of jobs that the test sets. */
export class FakeModel implements IJobsModel {
  jobs: readonly IJobRow[] = [];
  backends: readonly IBackend[] = [];
  error = '';
  ready = true;
  allUsers = false;
  refresh = jest.fn(async () => undefined);
  readonly changed = new Signal<this, void>(this);
  readonly stateChanged = new Signal<this, IStateChange>(this);

  get(id: string): IJobRow | undefined {
    return this.jobs.find(job => job.id === id);
  }
}
