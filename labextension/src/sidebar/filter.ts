/** Which jobs of the list are shown. */
import type { IJobRow, JobState } from '../tokens';

export interface IFilter {
  /** Empty: all states. */
  states: ReadonlySet<JobState>;
  /** "": all queues. */
  queue: string;
  text: string;
}

export const NO_FILTER: IFilter = { states: new Set(), queue: '', text: '' };

export function isFiltering(filter: IFilter): boolean {
  return filter.states.size > 0 || filter.queue !== '' || filter.text.trim() !== '';
}

/** The jobs that pass, in their order; each word of the text must be found somewhere in a job. */
export function passing(jobs: readonly IJobRow[], filter: IFilter): readonly IJobRow[] {
  if (!isFiltering(filter)) {
    return jobs;
  }
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  return jobs.filter(
    job =>
      (filter.states.size === 0 || filter.states.has(job.state)) &&
      (filter.queue === '' || filter.queue === job.queue) &&
      (words.length === 0 || holds(job, words))
  );
}

/** How many jobs stand in each state that occurs. */
export function countStates(jobs: readonly IJobRow[]): Map<JobState, number> {
  const counts = new Map<JobState, number>();
  for (const { state } of jobs) {
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  return counts;
}

/** The names of the queues that occur, in order. */
export function queuesOf(jobs: readonly IJobRow[]): string[] {
  const names = new Set(jobs.map(job => job.queue));
  names.delete('');
  return [...names].sort();
}

function holds(job: IJobRow, words: string[]): boolean {
  const text = [
    job.name,
    job.queue,
    job.user,
    job.backend,
    job.asked.text,
    job.reason,
    job.message,
    job.notebook
  ]
    .join('\n')
    .toLowerCase();
  return words.every(word => text.includes(word));
}
