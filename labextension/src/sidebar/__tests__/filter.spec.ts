import { row } from '../../__tests__/fixtures';
import { countStates, isFiltering, NO_FILTER, passing, queuesOf } from '../filter';
import { inSight, rowAt, tops } from '../windowing';

const JOBS = [
  row('train-1', { state: 'Queued', queue: 'a', message: 'Waits for H100' }),
  row('train-2', { state: 'Running', queue: 'b', user: 'Bob' }),
  row('eval-1', { state: 'Failed', queue: 'b' }),
  row('loose', { state: 'Running', queue: '' })
];
const names = (filter: Partial<typeof NO_FILTER>) =>
  passing(JOBS, { ...NO_FILTER, ...filter }).map(job => job.name);

describe('the filter', () => {
  it('passes the very list where it asks for nothing', () => {
    expect(passing(JOBS, NO_FILTER)).toBe(JOBS);
    expect(passing(JOBS, { ...NO_FILTER, text: '  ' })).toBe(JOBS);
    expect(isFiltering({ ...NO_FILTER, text: ' ' })).toBe(false);
  });

  it('takes any of the states, the queue, and each word anywhere', () => {
    expect(names({ states: new Set(['Queued', 'Failed']) })).toEqual(['train-1', 'eval-1']);
    expect(names({ queue: 'b' })).toEqual(['train-2', 'eval-1']);
    expect(names({ text: 'BOB' })).toEqual(['train-2']);
    expect(names({ text: 'h100 waits' })).toEqual(['train-1']);
    expect(names({ text: 'train', queue: 'b', states: new Set(['Running']) })).toEqual(['train-2']);
    expect(names({ text: 'nothing-like-it' })).toEqual([]);
  });

  it('offers the states and queues that occur', () => {
    expect([...countStates(JOBS)]).toEqual([
      ['Queued', 1],
      ['Running', 2],
      ['Failed', 1]
    ]);
    expect(queuesOf(JOBS)).toEqual(['a', 'b']);
  });
});

describe('the window', () => {
  const rows = tops([10, 20, 10, 20], 4);

  it('knows where each row stands', () => {
    expect([...rows]).toEqual([0, 10, 30, 40, 60]);
    expect([0, 9, 10, 29, 30, 59, 999].map(y => rowAt(rows, y))).toEqual([0, 0, 1, 1, 2, 3, 3]);
  });

  it('draws what is in sight and some beside', () => {
    expect(inSight(rows, 10, 15, 0)).toEqual([1, 2]);
    expect(inSight(rows, 10, 25, 1)).toEqual([0, 4]);
    expect(inSight(tops([], 0), 0, 100)).toEqual([0, 0]);
  });
});
