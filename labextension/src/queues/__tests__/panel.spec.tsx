import { nullTranslator } from '@jupyterlab/translation';
import { act, fireEvent, render, screen } from '@testing-library/react';
import * as React from 'react';

import type { IQueue, IQueues } from '../../tokens';
import { QueuesPanel } from '../panel';
import { bytes } from '../use';

const trans = nullTranslator.load('');
const GIB = 2 ** 30;

function queue(name: string, over: Partial<IQueue> = {}): IQueue {
  return { backend: 'gpu', name, running: 3, pending: 2, flavors: {}, message: '', ...over };
}

let answer: IQueues;
let online: boolean;
let failure: string;
let asked: number;
const api = {
  queues: async () => {
    asked += 1;
    if (failure) {
      throw new Error(failure);
    }
    return answer;
  }
};

const connected = () => online;
const pass = (seconds: number) => act(() => jest.advanceTimersByTimeAsync(1000 * seconds));

beforeEach(() => {
  jest.useFakeTimers();
  answer = { queues: [], errors: [] };
  failure = '';
  asked = 0;
  online = true;
});

afterEach(() => {
  jest.useRealTimers();
});

it('shows the use of each resource of each flavor as a bar with its text', async () => {
  answer.queues = [
    queue('user-queue', {
      flavors: {
        h100: {
          memory: { used: 512 * GIB, total: 2048 * GIB },
          gpu: { used: 12, total: 16 }
        },
        l4: { gpu: { used: 8, total: 8 } }
      }
    })
  ];
  render(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(0.1);
  expect(screen.getByRole('region', { name: 'user-queue' }).textContent).toContain(
    '3 running · 2 queued'
  );
  const bars = screen
    .getAllByRole('meter')
    .map(bar => ['aria-label', 'aria-valuenow', 'aria-valuetext'].map(a => bar.getAttribute(a)));
  expect(bars).toEqual([
    ['Queued', '40', '2 of 5 jobs'],
    ['GPUs, h100', '75', '12 of 16'],
    ['Memory, h100', '25', '512 GiB of 2 TiB'],
    ['GPUs, l4', '100', '8 of 8']
  ]);
});

it('passes over what there is none of', async () => {
  answer.queues = [queue('local', { flavors: { '': { gpu: { used: 0, total: 0 } } } })];
  render(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(0.1);
  expect(screen.queryByText('GPUs')).toBeNull();
});

it('draws no bar where the total is not known', async () => {
  answer.queues = [
    queue('local', { running: 0, pending: 0, flavors: { '': { cpu: { used: 2, total: null } } } })
  ];
  render(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(0.1);
  expect(screen.queryByRole('meter')).toBeNull();
  expect(screen.getByText('2 used')).toBeTruthy();
});

it('says why a queue takes no jobs, and what could not be read', async () => {
  answer = { queues: [queue('q', { message: 'Stopped <b>now</b>' })], errors: ['gpu: forbidden'] };
  const { container } = render(
    <QueuesPanel api={api} shown={true} connected={connected} trans={trans} />
  );
  await pass(0.1);
  expect(screen.getByText('Stopped <b>now</b>')).toBeTruthy();
  expect(container.querySelector('b')).toBeNull();
  expect(screen.getByText('gpu: forbidden')).toBeTruthy();
});

it('asks while it is shown only', async () => {
  const { rerender } = render(
    <QueuesPanel api={api} shown={false} connected={connected} trans={trans} />
  );
  await pass(60);
  expect(asked).toBe(0);
  rerender(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(25);
  expect(asked).toBeGreaterThanOrEqual(3);
  rerender(<QueuesPanel api={api} shown={false} connected={connected} trans={trans} />);
  const before = asked;
  await pass(60);
  expect(asked).toBe(before);
});

it('rests while JupyterLab says that the server is away', async () => {
  render(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(0.1);
  online = false;
  const before = asked;
  await pass(60);
  expect(asked).toBe(before);
  online = true;
  await pass(11);
  expect(asked).toBe(before + 1);
});

it('draws no bar of the jobs where there are none', async () => {
  answer.queues = [queue('local', { running: 0, pending: 0 })];
  render(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(0.1);
  expect(screen.queryByRole('meter')).toBeNull();
});

it('keeps what it knew when the server is away, and asks again on Retry', async () => {
  answer.queues = [queue('user-queue')];
  render(<QueuesPanel api={api} shown={true} connected={connected} trans={trans} />);
  await pass(0.1);
  failure = 'The Jupyter server does not answer';
  await pass(11);
  expect(screen.getByText(failure)).toBeTruthy();
  expect(screen.getByRole('region', { name: 'user-queue' })).toBeTruthy();
  failure = '';
  fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
  await pass(0.1);
  expect(screen.queryByText('The Jupyter server does not answer')).toBeNull();
});

it('writes bytes as people do', () => {
  expect([0, 512, 1536, 64 * GIB, 1.5 * 1024 * GIB].map(bytes)).toEqual([
    '0 B',
    '512 B',
    '1.5 KiB',
    '64 GiB',
    '1.5 TiB'
  ]);
});
