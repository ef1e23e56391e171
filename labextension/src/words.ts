/** How states and times read. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IJobRow, JobState } from './tokens';

const OVER: ReadonlySet<JobState> = new Set(['Succeeded', 'Failed', 'Cancelled']);

/** All states, in the order of a job's life. */
export const STATES: readonly JobState[] = [
  'Queued',
  'Starting',
  'Running',
  'Stopped',
  'Succeeded',
  'Failed',
  'Cancelled'
];

/** Whether a job in this state has come to its end. */
export function isOver(state: JobState): boolean {
  return OVER.has(state);
}

export function stateWord(trans: TranslationBundle, state: JobState): string {
  switch (state) {
    case 'Queued':
      return trans.__('Queued');
    case 'Starting':
      return trans.__('Starting');
    case 'Running':
      return trans.__('Running');
    case 'Stopped':
      return trans.__('Stopped');
    case 'Succeeded':
      return trans.__('Succeeded');
    case 'Failed':
      return trans.__('Failed');
    case 'Cancelled':
      return trans.__('Cancelled');
  }
}

/** What a row says its state is: its end may have been asked for. */
export function standing(trans: TranslationBundle, job: IJobRow): string {
  return job.cancelling && !isOver(job.state)
    ? trans.__('Cancelling')
    : stateWord(trans, job.state);
}

/** A span of time in its two largest units ("8 s", "3 min 20 s", "2 h 5 min", "4 d 1 h"). */
export function span(trans: TranslationBundle, seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const [min, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  if (min === 0) {
    return trans.__('%1 s', s);
  }
  if (h === 0) {
    return s % 60 ? trans.__('%1 min %2 s', min, s % 60) : trans.__('%1 min', min);
  }
  if (d === 0) {
    return min % 60 ? trans.__('%1 h %2 min', h, min % 60) : trans.__('%1 h', h);
  }
  return h % 24 ? trans.__('%1 d %2 h', d, h % 24) : trans.__('%1 d', d);
}

/** How long ago, in its largest unit, so that it seldom changes ("now", "3 min ago"). */
export function ago(trans: TranslationBundle, seconds: number): string {
  const s = Math.floor(seconds);
  if (s < 60) {
    return trans.__('just now');
  }
  if (s < 3600) {
    return trans.__('%1 min ago', Math.floor(s / 60));
  }
  if (s < 86400) {
    return trans.__('%1 h ago', Math.floor(s / 3600));
  }
  return trans.__('%1 d ago', Math.floor(s / 86400));
}

/** The time of a row: how long it runs, how long it waits, or how long ago it ended. */
export function timeOf(trans: TranslationBundle, job: IJobRow, now: number): string {
  if (isOver(job.state)) {
    return ago(trans, now - (job.finished ?? job.since));
  }
  const from = job.state === 'Running' ? (job.started ?? job.since) : job.since;
  return span(trans, now - from);
}

/** A time of day, with the date where it is not today's. */
export function clock(seconds: number): string {
  const time = new Date(seconds * 1000);
  return time.toDateString() === new Date().toDateString()
    ? time.toLocaleTimeString()
    : time.toLocaleString();
}
