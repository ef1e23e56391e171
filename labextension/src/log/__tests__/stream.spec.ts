import type { ILogPiece } from '../../tokens';
import { LogStream } from '../stream';
import { FakeLog, lines } from './fakes';

let log: FakeLog;
let abort: AbortController;
let got: string;
let troubles: string[];
let done: boolean;

const pass = (seconds: number) => jest.advanceTimersByTimeAsync(1000 * seconds);

function start(): void {
  const stream = new LogStream(log, 'local/a', { node: 0 });
  const read = async () => {
    for await (const piece of stream.pieces(0, abort.signal, trouble => troubles.push(trouble))) {
      got += piece.text;
    }
    done = true;
  };
  void read();
}

beforeEach(() => {
  jest.useFakeTimers();
  log = new FakeLog();
  abort = new AbortController();
  got = '';
  troubles = [];
  done = false;
});

afterEach(() => {
  abort.abort();
  jest.useRealTimers();
});

it('brings what is written, and ends with the log', async () => {
  start();
  log.text = lines(5);
  await pass(0.1);
  expect(got).toBe(lines(5));
  log.text += 'last words';
  log.ended = true;
  await pass(0.1);
  expect(got).toBe(log.text);
  expect(done).toBe(true);
});

it('connects again after a loss, and brings each line once', async () => {
  start();
  log.text = lines(5);
  await pass(0.1);
  log.lose();
  log.text += lines(5, 5);
  await pass(1);
  expect(troubles).toEqual(['network error']);
  expect(got).toBe(log.text);
  expect(log.opened).toBe(2);
});

it('waits longer each time that it is refused, though never longer than ten seconds', async () => {
  const refuse = () => Promise.reject(new Error('The Jupyter server does not answer'));
  const follow = jest
    .spyOn(log, 'follow')
    .mockImplementation(() => ({ next: refuse }) as unknown as AsyncGenerator<ILogPiece>);
  start();
  await pass(4);
  expect(follow).toHaveBeenCalledTimes(4);
  await pass(60);
  expect(follow.mock.calls.length).toBeLessThan(12);
  follow.mockRestore();
  log.text = lines(1);
  await pass(11);
  expect(got).toBe(lines(1));
});

it('asks for pieces where something on the way holds the stream back', async () => {
  log.streams = false;
  log.text = lines(5);
  start();
  await pass(8);
  expect(got).toBe(log.text);
  log.text += lines(5, 5);
  await pass(1.1);
  expect(got).toBe(log.text);
  expect(log.opened).toBe(1);
});

it('takes silence for silence where nothing is written', async () => {
  log.text = '';
  start();
  await pass(60);
  expect(log.opened).toBe(1);
  expect(log.asked.length).toBeLessThanOrEqual(3);
  log.text = lines(1);
  await pass(0.1);
  expect(got).toBe(lines(1));
});

it('ends at once when told to', async () => {
  start();
  await pass(1);
  abort.abort();
  await pass(0);
  expect(done).toBe(true);
  expect(troubles).toEqual([]);
  // Nothing but the fake's own clock may still tick.
  await pass(0.1);
  expect(jest.getTimerCount()).toBe(0);
});
