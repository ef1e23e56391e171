import type { ILogMatches } from '../../tokens';
import { LogSearch } from '../search';

const found = (...offsets: number[]): ILogMatches => ({
  matches: offsets.map((offset, index) => ({ offset, line: index + 1, text: 'loss' })),
  more: false
});

it('steps through what it found, around the ends', async () => {
  const search = new LogSearch({ search: async () => found(10, 20, 30) }, 'local/a', { node: 0 });
  expect(search.step(1)).toBe(-1);
  expect(await search.search('loss')).toBe(true);
  expect([search.step(1), search.step(-1)]).toEqual([0, 2]);
  search.current = 2;
  expect([search.step(1), search.step(-1)]).toEqual([0, 1]);
  expect([search.near(0), search.near(15), search.near(99)]).toEqual([0, 1, 2]);
});

it('keeps to the newest question, whatever is answered first', async () => {
  const answers: ((matches: ILogMatches) => void)[] = [];
  const api = { search: () => new Promise<ILogMatches>(resolve => answers.push(resolve)) };
  const search = new LogSearch(api, 'local/a', { node: 0 });
  const old = search.search('a');
  const current = search.search('b');
  answers[1](found(20));
  answers[0](found(10));
  expect([await old, await current]).toEqual([false, true]);
  expect(search.found.map(({ offset }) => offset)).toEqual([20]);
});

it('says what went wrong', async () => {
  const api = { search: async () => Promise.reject(new Error('The server answered 500')) };
  const search = new LogSearch(api, 'local/a', { node: 0 });
  await search.search('a');
  expect(search.error).toBe('The server answered 500');
  expect(search.busy).toBe(false);
});
