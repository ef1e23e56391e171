import { DetailModel } from '../model';
import { FakeApi, FakeJobs, detail } from './fixtures';

let api: FakeApi;
let jobs: FakeJobs;
let model: DetailModel;

const pass = (seconds: number) => jest.advanceTimersByTimeAsync(1000 * seconds);

beforeEach(() => {
  jest.useFakeTimers();
  api = new FakeApi();
  jobs = new FakeJobs();
  model = new DetailModel(api, jobs, 'local/train-1');
});

afterEach(() => {
  model.dispose();
  jest.useRealTimers();
});

it('asks again where the list has another row, and only then', async () => {
  api.answer = detail('Running');
  const row = detail('Running');
  jobs.put(row);
  expect(api.asked).toBe(0);
  model.shown = true;
  await pass(0);
  expect(api.asked).toBe(1);
  jobs.put(row);
  await pass(60);
  expect(api.asked).toBe(1);
  api.answer = detail('Succeeded');
  jobs.put(detail('Succeeded'));
  await pass(0);
  expect(api.asked).toBe(2);
  expect(model.detail?.state).toBe('Succeeded');
});

it('asks for nothing while hidden, and for what it missed afterwards', async () => {
  api.answer = detail('Running');
  jobs.put(detail('Running'));
  model.shown = true;
  await pass(0);
  model.shown = false;
  jobs.put(detail('Failed'));
  await pass(60);
  expect(api.asked).toBe(1);
  model.shown = true;
  await pass(0);
  expect(api.asked).toBe(2);
  expect(model.job?.state).toBe('Failed');
});

it('asks now and then about a job that the list does not hold, until it is over', async () => {
  api.answer = detail('Running');
  model.shown = true;
  await pass(11);
  expect(api.asked).toBe(3);
  api.answer = detail('Succeeded');
  await pass(60);
  expect(api.asked).toBe(4);
});

it('keeps what it knows of a job that is gone', async () => {
  api.answer = detail('Running');
  jobs.put(detail('Running'));
  model.shown = true;
  await pass(0);
  api.answer = null;
  jobs.put();
  await pass(0);
  expect(model.gone).toBe(true);
  expect(model.job?.name).toBe('train-1');
  const { asked } = api;
  await pass(60);
  expect(api.asked).toBe(asked);
});

it('an error is no end: what was known stays, and is asked for again', async () => {
  api.answer = detail('Running');
  model.shown = true;
  await pass(0);
  api.failure = 'The Jupyter server does not answer';
  await pass(5);
  expect(model.error).toBe('The Jupyter server does not answer');
  expect(model.gone).toBe(false);
  api.failure = '';
  await pass(5);
  expect(model.error).toBe('');
});

it('shows the log of the last attempt, also of those to come, unless one was chosen', async () => {
  api.answer = detail('Running');
  model.shown = true;
  await pass(0);
  model.openLog(1);
  expect([model.tab, model.node, model.attempt]).toEqual(['log', 1, 0]);
  jobs.put(detail('Running', { attempt: 2 }));
  await pass(0);
  expect(model.attempt).toBe(2);
  model.openLog(1, 0);
  expect(model.attempt).toBe(0);
  model.openLog(1, 2);
  jobs.put(detail('Running', { attempt: 3 }));
  expect(model.attempt).toBe(3);
});
