import { nullTranslator } from '@jupyterlab/translation';
import { Signal } from '@lumino/signaling';

import { EVENT, JobsModel, type IStateChange } from '../model';
import { FakeServer, row } from './fixtures';

const trans = nullTranslator.load('');

let server: FakeServer;
let events: Signal<object, { schema_id: string }>;
let model: JobsModel;
let changes: IStateChange[];
let drawn: number;

function start(options: { withEvents?: boolean; connected?: () => boolean } = {}): void {
  model = new JobsModel({
    api: server,
    trans,
    events: options.withEvents ? events : undefined,
    connected: options.connected
  });
  model.stateChanged.connect((_, change) => changes.push(change));
  model.changed.connect(() => {
    drawn += 1;
  });
}

const pass = (seconds: number) => jest.advanceTimersByTimeAsync(1000 * seconds);
const names = () => model.jobs.map(job => job.name);

function look(visible: boolean): void {
  Object.defineProperty(document, 'visibilityState', {
    configurable: true,
    value: visible ? 'visible' : 'hidden'
  });
  document.dispatchEvent(new Event('visibilitychange'));
}

beforeEach(() => {
  jest.useFakeTimers();
  server = new FakeServer();
  events = new Signal({});
  changes = [];
  drawn = 0;
});

afterEach(() => {
  look(true);
  model.dispose();
  jest.useRealTimers();
});

describe('the list', () => {
  it('is newest first, and the first one is no news', async () => {
    server.put(row('old', { created: 1 }), row('new', { created: 3 }), row('mid', { created: 2 }));
    start();
    expect(model.ready).toBe(false);
    await pass(0.1);
    expect(names()).toEqual(['new', 'mid', 'old']);
    expect(model.ready).toBe(true);
    expect(changes).toEqual([]);
  });

  it('takes changes, newcomers and departures, and asks only for those', async () => {
    server.put(row('a', { created: 1 }), row('b', { created: 2 }));
    start();
    await pass(0.1);
    const before = model.get('local/b');
    server.put(row('a', { created: 1, state: 'Failed' }), row('c', { created: 3 }));
    server.drop('local/gone');
    await model.refresh();
    expect(names()).toEqual(['c', 'b', 'a']);
    expect(model.get('local/b')).toBe(before);
    expect(changes.map(({ job, before }) => [job.name, before, job.state])).toEqual([
      ['a', 'Running', 'Failed'],
      ['c', null, 'Running']
    ]);
    expect(server.asked.at(-1)!.since).toEqual({ epoch: 'first', seq: 2 });
    server.drop('local/a');
    await model.refresh();
    expect(names()).toEqual(['c', 'b']);
  });

  it('begins anew with another server, and tells what changed meanwhile', async () => {
    server.put(row('a'), row('b'));
    start();
    await pass(0.1);
    Object.assign(server, { epoch: 'second', seq: 0 });
    server.drop('local/b');
    server.put(row('a', { state: 'Succeeded' }), row('x'));
    await model.refresh();
    expect(names().sort()).toEqual(['a', 'x']);
    expect(changes.map(({ job }) => job.name)).toEqual(['a']);
  });

  it('asks for all once the jobs of others are wanted, also while it is asking', async () => {
    server.put(row('a', { created: 2 }), row('b', { created: 1, mine: false }));
    start();
    await pass(0.1);
    const asking = model.refresh();
    model.allUsers = true;
    await asking;
    expect(names()).toEqual(['a', 'b']);
    expect(server.asked.at(-1)).toEqual({ since: undefined, allUsers: true });
    expect(changes).toEqual([]);
  });

  it('draws nothing anew where nothing changed', async () => {
    server.put(row('a'));
    start();
    await pass(0.1);
    const { jobs } = model;
    const count = drawn;
    await model.refresh();
    expect(model.jobs).toBe(jobs);
    expect(drawn).toBe(count);
  });

  it('takes a change among 10,000 jobs in little time', async () => {
    server.put(...Array.from({ length: 10_000 }, (_, i) => row(`j${i}`, { created: i })));
    start();
    await pass(0.1);
    expect(model.jobs.length).toBe(10_000);
    server.put(row('j5000', { created: 5000, state: 'Failed' }), row('last', { created: 1e9 }));
    const answer = await server.jobs({ epoch: 'first', seq: 10_000 });
    server.jobs = async () => answer;
    const begun = performance.now();
    await model.refresh();
    expect(performance.now() - begun).toBeLessThan(100);
    expect(model.jobs[0].name).toBe('last');
    expect(model.get('local/j5000')!.state).toBe('Failed');
  });
});

describe('events', () => {
  it('make it ask at once, and a burst at most once in a while', async () => {
    server.put(row('a'));
    start({ withEvents: true });
    await pass(0.1);
    const before = server.asked.length;
    for (let i = 0; i < 100; i++) {
      server.put(row('a', { attempt: i }));
      events.emit({ schema_id: EVENT });
      await pass(0.002);
    }
    await pass(0.3);
    expect(server.asked.length - before).toBeLessThanOrEqual(3);
    expect(model.get('local/a')!.attempt).toBe(99);
  });

  it('of others are passed over', async () => {
    start({ withEvents: true });
    await pass(0.1);
    const before = server.asked.length;
    events.emit({ schema_id: 'https://events.jupyter.org/jupyter_server/contents_service/v1' });
    await pass(0.5);
    expect(server.asked.length).toBe(before);
  });

  it('let the poll rest, until it meets a change that none announced', async () => {
    server.put(row('a'));
    start({ withEvents: true });
    await pass(0.1);
    server.put(row('a', { attempt: 2 }));
    events.emit({ schema_id: EVENT });
    await pass(60);
    const pushed = server.asked.length;
    await pass(60);
    expect(server.asked.length - pushed).toBeLessThanOrEqual(4);
    server.put(row('a', { attempt: 3 }));
    await pass(20);
    const polled = server.asked.length;
    await pass(30);
    expect(server.asked.length - polled).toBeGreaterThanOrEqual(9);
  });
});

describe('the poll', () => {
  it('keeps its pace while the jobs of others are shown, whose changes none announces', async () => {
    server.put(row('a', { state: 'Succeeded' }), row('b', { mine: false }));
    start({ withEvents: true });
    events.emit({ schema_id: EVENT });
    await pass(300);
    model.allUsers = true;
    await pass(0.1);
    for (const attempt of [1, 2]) {
      server.put(row('b', { mine: false, attempt }));
      await pass(3.5);
      expect(model.get('local/b')!.attempt).toBe(attempt);
    }
  });

  it('asks every few seconds while a job runs', async () => {
    server.put(row('a'));
    start();
    await pass(0.1);
    server.put(row('a', { state: 'Succeeded' }));
    await pass(3.1);
    expect(model.get('local/a')!.state).toBe('Succeeded');
  });

  it('becomes slow while nothing runs', async () => {
    server.put(row('a', { state: 'Succeeded' }));
    start();
    await pass(300);
    const before = server.asked.length;
    await pass(600);
    expect(server.asked.length - before).toBeLessThanOrEqual(11);
  });

  it('rests while the page is hidden, and asks when it is back', async () => {
    server.put(row('a'));
    start({ withEvents: true });
    await pass(0.1);
    look(false);
    await pass(20);
    const before = server.asked.length;
    events.emit({ schema_id: EVENT });
    await pass(60);
    expect(server.asked.length).toBe(before);
    look(true);
    await pass(0.1);
    expect(server.asked.length).toBe(before + 1);
  });

  it('rests while JupyterLab says that the server is away', async () => {
    let connected = true;
    start({ connected: () => connected });
    await pass(0.1);
    connected = false;
    const before = server.asked.length;
    await pass(60);
    expect(server.asked.length).toBe(before);
  });
});

describe('what goes wrong', () => {
  it('is said in one line, with the jobs kept, and is over when the server is back', async () => {
    server.put(row('a'));
    start();
    await pass(0.1);
    server.failure = 'The Jupyter server does not answer';
    await pass(4);
    expect(model.error).toBe('The Jupyter server does not answer');
    expect(names()).toEqual(['a']);
    const before = server.asked.length;
    await pass(300);
    expect(server.asked.length - before).toBeLessThan(30);
    server.failure = '';
    await model.refresh();
    expect(model.error).toBe('');
    expect(changes).toEqual([]);
  });

  it('is over soon after the server is back, though events had let the poll rest', async () => {
    server.put(row('a'));
    start({ withEvents: true });
    await pass(0.1);
    for (let i = 0; i < 20; i++) {
      server.put(row('a', { attempt: i }));
      events.emit({ schema_id: EVENT });
      await pass(10);
    }
    server.failure = 'The Jupyter server does not answer';
    await model.refresh();
    await pass(300);
    server.failure = '';
    server.put(row('a', { attempt: 20 }));
    await pass(16);
    expect(model.error).toBe('');
    server.put(row('b'));
    await pass(3.5);
    expect(names()).toContain('b');
  });

  it('is over at once when the browser says that the network is back', async () => {
    start();
    await pass(0.1);
    server.failure = 'The Jupyter server does not answer';
    await pass(300);
    expect(model.error).toBe(server.failure);
    server.failure = '';
    window.dispatchEvent(new Event('online'));
    await pass(0.1);
    expect(model.error).toBe('');
  });

  it.each([
    [0, 'The server has jupyter_konduktor 9.9, which is older than this page'],
    [99, 'The server has jupyter_konduktor 9.9, which is newer than this page: reload the page']
  ])('may be a server that speaks version %i', async (api, line) => {
    server.api = api;
    start();
    await pass(0.1);
    expect(model.error).toContain(line);
    expect(server.asked).toEqual([]);
  });

  it('may be that another server has come, of another version', async () => {
    start();
    await pass(0.1);
    Object.assign(server, { epoch: 'second', api: 99 });
    await model.refresh();
    await model.refresh();
    expect(model.error).toContain('reload the page');
  });

  it('may be a backend that cannot be seen', async () => {
    start();
    await pass(0.1);
    server.backends = [{ name: 'cluster', place: 'c/ns', unknown_since: 5, message: 'no route' }];
    await model.refresh();
    expect(model.backends).toEqual(server.backends);
    expect(drawn).toBe(2);
  });
});

it('asks no more once disposed', async () => {
  start({ withEvents: true });
  await pass(0.1);
  model.dispose();
  const before = server.asked.length;
  events.emit({ schema_id: EVENT });
  look(true);
  await pass(60);
  expect(server.asked.length).toBe(before);
});
