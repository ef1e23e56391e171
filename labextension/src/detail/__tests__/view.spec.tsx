import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { act, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import type { Api } from '../../api';
import { CommandIDs, type IJobDetail, type IResult } from '../../tokens';
import { DetailModel } from '../model';
import { History, Timeline, spans } from '../timeline';
import { DetailView } from '../view';
import { FakeApi, FakeJobs, HOSTILE, detail } from './fixtures';

// The terminal needs a browser; its logic has tests of its own.
jest.mock('../../log/view', () => ({
  LogView: ({ node, attempt, shown }: { node: number; attempt: number; shown: boolean }) => (
    <p>{`log of ${node}, ${attempt}, ${shown ? 'shown' : 'hidden'}`}</p>
  )
}));

const trans = nullTranslator.load('');

let api: FakeApi & { result: () => Promise<IResult> };
let jobs: FakeJobs;
let model: DetailModel;
let commands: CommandRegistry;
let executed: unknown[];

async function show(answer: IJobDetail | null): Promise<HTMLElement> {
  api.answer = answer;
  if (answer) {
    jobs.put(answer);
  }
  const { container } = render(
    <DetailView
      model={model}
      api={api as unknown as Api}
      commands={commands}
      screenReaderMode={false}
      trans={trans}
    />
  );
  await act(async () => {
    model.shown = true;
  });
  return container;
}

beforeEach(() => {
  api = Object.assign(new FakeApi(), {
    result: async (): Promise<IResult> => ({ kind: 'json', text: '{"loss": 0.1}', exit_code: 0 })
  });
  jobs = new FakeJobs();
  model = new DetailModel(api, jobs, 'local/train-1');
  commands = new CommandRegistry();
  executed = [];
  for (const id of [CommandIDs.cancel, CommandIDs.stop, CommandIDs.resume]) {
    commands.addCommand(id, { label: id, execute: args => executed.push([id, args.id]) });
  }
});

afterEach(() => model.dispose());

it('says where the job stands, and offers what makes sense now', async () => {
  await show(detail('Running'));
  expect(screen.getByRole('heading', { level: 2 }).textContent).toBe('train-1');
  expect(screen.getByRole('status').textContent).toBe('Running');
  expect(screen.queryByRole('button', { name: 'Resume' })).toBeNull();
  // Its command is not there.
  expect(screen.queryByRole('button', { name: 'Copy attach code' })).toBeNull();
  fireEvent.click(screen.getByRole('button', { name: 'Cancel…' }));
  expect(executed).toEqual([[CommandIDs.cancel, 'local/train-1']]);
});

it('a job whose end was asked for is cancelling, and cannot be cancelled again', async () => {
  await show(detail('Running', { cancelling: true }));
  expect(screen.getByRole('status').textContent).toBe('Cancelling');
  expect(screen.queryByRole('button', { name: 'Cancel…' })).toBeNull();
});

it('says why a job waits and how many are ahead', async () => {
  const message = 'insufficient unused quota for nvidia.com/gpu';
  await show(detail('Queued', { reason: 'Pending', message, position: 3, started: null }));
  const callout = screen.getByRole('heading', { name: 'Why it waits' }).parentElement!;
  expect(callout.textContent).toContain(message);
  expect(callout.textContent).toContain('3 jobs are ahead of it in user-queue.');
});

it('text of a cluster or a job stays text', async () => {
  api.result = async () => ({ kind: 'error', text: `\x1b[31m${HOSTILE}\x1b[0m`, exit_code: 1 });
  const container = await show(
    detail('Failed', {
      name: HOSTILE,
      reason: HOSTILE,
      message: HOSTILE,
      facts: [[HOSTILE, HOSTILE]],
      history: [{ time: 1000, state: 'Failed', reason: HOSTILE, message: HOSTILE, attempt: 0 }]
    })
  );
  await act(async () => {
    model.tab = 'result';
  });
  expect(container.querySelector('img')).toBeNull();
  expect(container.querySelector('pre')!.textContent).toBe(HOSTILE);
  expect(container.querySelector('pre span')!.className).toBe('ansi-red-fg');
});

it('has tabs that the arrow keys go through', async () => {
  await show(detail('Running'));
  const tab = (name: string) => screen.getByRole('tab', { name });
  expect(tab('Overview').getAttribute('aria-selected')).toBe('true');
  expect(screen.queryByText(/^log of/)).toBeNull();
  await act(async () => {
    fireEvent.keyDown(tab('Overview'), { key: 'ArrowRight' });
  });
  expect(model.tab).toBe('log');
  expect(document.activeElement).toBe(tab('Log'));
  expect(await screen.findByText('log of 0, 0, shown')).toBeTruthy();
  const panel = screen.getByRole('tabpanel', { name: 'Log' });
  expect(tab('Log').getAttribute('aria-controls')).toBe(panel.id);
  await act(async () => {
    fireEvent.keyDown(tab('Log'), { key: 'End' });
  });
  expect(model.tab).toBe('result');
  // It stays where it was scrolled to, and asks for nothing.
  expect(screen.getByText('log of 0, 0, hidden')).toBeTruthy();
});

it('shows the result once there is one, and says what went wrong in a line', async () => {
  api.result = async () => Promise.reject(new Error('The server answered 500'));
  await show(detail('Running'));
  await act(async () => {
    model.tab = 'result';
  });
  expect(screen.getByText('There will be one when it ends.')).toBeTruthy();
  await act(async () => jobs.put(detail('Succeeded')));
  expect(screen.getByRole('alert').textContent).toContain('The server answered 500');
  api.result = async () => ({ kind: 'json', text: '{"loss": 0.1}', exit_code: 0 });
  await act(async () => fireEvent.click(screen.getByRole('button', { name: 'Retry' })));
  expect(screen.getByText('{"loss": 0.1}')).toBeTruthy();
});

it('keeps what it knows of a job that is gone, and says so', async () => {
  await show(detail('Running'));
  api.answer = null;
  await act(async () => jobs.put());
  expect(screen.getByRole('alert').textContent).toContain('there no more');
  expect(screen.getByRole('heading', { level: 2 }).textContent).toBe('train-1');
});

it('says that there is no such job', async () => {
  await show(null);
  expect(screen.getByRole('alert').textContent).toBe('There is no job local/train-1 here.');
});

it('says in a line that the server does not answer', async () => {
  api.failure = 'The Jupyter server does not answer';
  await show(null);
  api.failure = '';
  api.answer = detail('Running');
  await act(async () => fireEvent.click(screen.getByRole('button', { name: 'Retry' })));
  expect(screen.getByRole('status').textContent).toBe('Running');
});

describe('the timeline', () => {
  const history: IJobDetail['history'] = [
    { time: 1000, state: 'Queued', reason: 'Pending', message: 'no quota', attempt: 0 },
    { time: 1060, state: 'Running', reason: '', message: '', attempt: 0 },
    { time: 1180, state: 'Queued', reason: 'Preempted', message: '', attempt: 1 },
    { time: 1200, state: 'Running', reason: '', message: '', attempt: 1 },
    { time: 1300, state: 'Succeeded', reason: '', message: '', attempt: 1 }
  ];

  it('has how long each state lasted', () => {
    expect(spans(history, 9999).map(({ from, to }) => to - from)).toEqual([60, 120, 20, 100, 0]);
    expect(spans(history.slice(0, 2), 1100).map(({ from, to }) => to - from)).toEqual([60, 40]);
    // A clock that is behind the cluster's.
    expect(spans(history.slice(0, 2), 900).map(({ from, to }) => to - from)).toEqual([60, 0]);
  });

  it('is a picture with a text that says the same', () => {
    const { container } = render(<Timeline history={history} now={1400} trans={trans} />);
    expect(screen.getByRole('img').getAttribute('aria-label')).toBe(
      'Queued for 1 min, Running for 2 min, Queued for 20 s, Running for 1 min 40 s, Succeeded'
    );
    expect(container.querySelectorAll('.jp-KonduktorDetail-lane').length).toBe(2);
    const bar = container.querySelectorAll<HTMLElement>('[data-state="Running"]')[0];
    expect([bar.style.left, bar.style.width]).toEqual(['20%', '40%']);
  });

  it('has a table of what happened', () => {
    render(<History history={history} now={1400} trans={trans} />);
    const rows = screen.getAllByRole('row');
    expect(rows.length).toBe(6);
    const cells = within(rows[3]).getAllByRole('cell');
    expect(cells.slice(1).map(cell => cell.textContent)).toEqual([
      '2',
      'Queued',
      '20 s',
      'Preempted'
    ]);
  });
});
