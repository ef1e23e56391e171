/** How the use of a queue reads. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IQueue, IUse } from '../tokens';

/** One bar: a resource of a flavor, or the jobs of a queue. */
export interface IBar {
  resource: string;
  label: string;
  text: string;
  /** From 0 to 1; null where the total is not known. */
  share: number | null;
}

const ORDER = ['gpu', 'cpu', 'memory'];
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes in the largest unit that leaves a whole figure before the point ("64 GiB", "1.5 TiB"). */
export function bytes(count: number): string {
  const power = Math.min(
    UNITS.length - 1,
    count < 1 ? 0 : Math.floor(Math.log(count) / Math.log(1024))
  );
  return `${tidy(count / 1024 ** power)} ${UNITS[power]}`;
}

/** The bars of one flavor, GPUs first; what there is none of has none. */
export function barsOf(trans: TranslationBundle, resources: Record<string, IUse>): IBar[] {
  return Object.entries(resources)
    .filter(([, { used, total }]) => used > 0 || total !== 0)
    .sort(([a], [b]) => rank(a) - rank(b) || (a < b ? -1 : 1))
    .map(([resource, use]) => ({
      resource,
      label: resourceWord(trans, resource),
      text: useText(trans, resource, use),
      share: use.total === null ? null : use.total > 0 ? Math.min(1, use.used / use.total) : 1
    }));
}

/** How many of a queue's jobs wait; null where it has none. */
export function barOfJobs(trans: TranslationBundle, { running, pending }: IQueue): IBar | null {
  const jobs = running + pending;
  return jobs === 0
    ? null
    : {
        resource: 'pending',
        label: trans.__('Queued'),
        text: trans._n('%2 of %1 job', '%2 of %1 jobs', jobs, pending),
        share: pending / jobs
      };
}

function resourceWord(trans: TranslationBundle, resource: string): string {
  switch (resource) {
    case 'gpu':
      return trans.__('GPUs');
    case 'cpu':
      return trans.__('CPUs');
    case 'memory':
      return trans.__('Memory');
    default:
      return resource;
  }
}

function useText(trans: TranslationBundle, resource: string, { used, total }: IUse): string {
  const say = resource === 'memory' ? bytes : tidy;
  return total === null
    ? trans.__('%1 used', say(used))
    : trans.__('%1 of %2', say(used), say(total));
}

function rank(resource: string): number {
  const place = ORDER.indexOf(resource);
  return place < 0 ? ORDER.length : place;
}

function tidy(value: number): string {
  return String(Math.round(value * 10) / 10);
}
