import { Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { Teller } from '../notifications';
import { CommandIDs, type IJobRow } from '../tokens';
import { row } from './fixtures';

let executed: [string, unknown][];
let teller: Teller;

const shown = () => Notification.manager.notifications.map(each => [each.type, each.message]);
const labels = () =>
  Notification.manager.notifications[0].options.actions!.map(action => action.label);
const ended = (name: string, over: Partial<IJobRow> = {}) =>
  row(name, { state: 'Succeeded', created: 1000, finished: 1060, ...over });
const pass = () => jest.advanceTimersByTime(1000);

beforeEach(() => {
  jest.useFakeTimers();
  Notification.dismiss();
  executed = [];
  const commands = new CommandRegistry();
  for (const id of [CommandIDs.openJob, CommandIDs.openLog, CommandIDs.openSidebar]) {
    commands.addCommand(id, { execute: args => executed.push([id, args]) });
  }
  teller = new Teller(commands, nullTranslator.load(''));
});

afterEach(() => {
  jest.useRealTimers();
});

it('tells of an end, and opens the job', () => {
  teller.note({ job: ended('train'), before: 'Running' });
  pass();
  expect(shown()).toEqual([['success', 'train succeeded']]);
  expect(labels()).toEqual(['Open']);
  Notification.manager.notifications[0].options.actions![0].callback(new MouseEvent('click'));
  expect(executed).toEqual([[CommandIDs.openJob, { id: 'local/train' }]]);
});

it('offers the log of what failed, and says why', () => {
  teller.note({ job: ended('train', { state: 'Failed', message: 'Exit 1' }), before: 'Running' });
  pass();
  expect(shown()).toEqual([['error', 'train failed: Exit 1']]);
  expect(labels()).toEqual(['Open', 'Log']);
});

it('tells of a start after a wait', () => {
  teller.note({ job: row('waited', { created: 1000, since: 1100 }), before: 'Queued' });
  teller.note({ job: row('at-once', { created: 1000, since: 1001 }), before: 'Queued' });
  pass();
  expect(shown()).toEqual([['info', 'waited has started']]);
});

it('is silent about short jobs, cancelled ones, and those of others', () => {
  teller.note({ job: ended('short', { finished: 1003 }), before: 'Running' });
  teller.note({ job: ended('cancelled', { state: 'Cancelled' }), before: 'Running' });
  teller.note({ job: ended('other', { mine: false }), before: 'Running' });
  teller.note({ job: row('queued', { state: 'Queued' }), before: null });
  pass();
  expect(shown()).toEqual([]);
});

it.each<['ended' | 'none', number]>([
  ['ended', 1],
  ['none', 0]
])('tells of %s when set so', (telling, count) => {
  teller.telling = telling;
  teller.note({ job: row('started', { created: 1000, since: 1100 }), before: 'Queued' });
  teller.note({ job: ended('over'), before: 'Running' });
  pass();
  expect(shown().length).toBe(count);
});

it('tells of a burst in one notification', () => {
  for (let i = 0; i < 100; i++) {
    const state = i < 3 ? 'Failed' : 'Succeeded';
    teller.note({ job: ended(`j${i}`, { state }), before: 'Running' });
  }
  pass();
  expect(shown()).toEqual([['error', '97 jobs succeeded, 3 jobs failed']]);
  Notification.manager.notifications[0].options.actions![0].callback(new MouseEvent('click'));
  expect(executed[0][0]).toBe(CommandIDs.openSidebar);
});

it('tells of a job that started and ended within a moment once', () => {
  teller.note({ job: row('train', { created: 1000, since: 1100 }), before: 'Queued' });
  teller.note({ job: ended('train'), before: 'Running' });
  pass();
  expect(shown()).toEqual([['success', 'train succeeded']]);
});
