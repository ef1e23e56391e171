/** A job with its details, and a list that holds it. */
import { Signal } from '@lumino/signaling';

import { ApiError } from '../../api';
import type { IJobDetail, IJobRow, IJobsModel, JobState } from '../../tokens';

export const HOSTILE = '<img src=x onerror="window.pwned = 1">';

export function detail(state: JobState, over: Partial<IJobDetail> = {}): IJobDetail {
  return {
    id: 'local/train-1',
    backend: 'local',
    name: 'train-1',
    uid: 'u',
    state,
    reason: '',
    message: '',
    position: null,
    queue: 'user-queue',
    user: 'ada',
    mine: true,
    kind: 'cell',
    attempt: 0,
    created: 1000,
    started: 1060,
    finished: null,
    since: 1060,
    asked: { text: 'H100:8', gpus: 8, gpu_kind: 'H100', cpus: null, memory: null, nodes: 2 },
    items: null,
    exit_code: null,
    stuck: false,
    cancelling: false,
    notebook: '',
    cell: '',
    history: [
      { time: 1000, state: 'Queued', reason: 'Pending', message: 'waits', attempt: 0 },
      { time: 1060, state: 'Running', reason: '', message: '', attempt: 0 }
    ],
    status: '',
    facts: [['image', 'train:1']],
    attach: '%konduktor attach train-1',
    actions: ['cancel', 'stop'],
    ...over
  };
}

export class FakeJobs implements IJobsModel {
  jobs: readonly IJobRow[] = [];
  backends = [];
  error = '';
  ready = true;
  allUsers = false;
  readonly changed = new Signal<this, void>(this);
  readonly stateChanged = new Signal<this, { job: IJobRow; before: JobState | null }>(this);

  get(id: string): IJobRow | undefined {
    return this.jobs.find(job => job.id === id);
  }

  async refresh(): Promise<void> {
    return undefined;
  }

  put(...jobs: IJobRow[]): void {
    this.jobs = jobs;
    this.changed.emit();
  }
}

export class FakeApi {
  answer: IJobDetail | null = null;
  failure = '';
  asked = 0;

  async job(): Promise<IJobDetail> {
    this.asked++;
    if (this.failure) {
      throw new ApiError(this.failure, 0);
    }
    if (!this.answer) {
      throw new ApiError('There is no job train-1', 404);
    }
    return this.answer;
  }
}
