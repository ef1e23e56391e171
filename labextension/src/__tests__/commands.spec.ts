import { Clipboard, Dialog, Notification } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';

import { addCommands } from '../commands';
import { CommandIDs, type IJobDetail } from '../tokens';
import { FakeModel, row } from './fixtures';

let commands: CommandRegistry;
let model: FakeModel;
let acted: string[];
let failure: string;

const api = {
  act: async (id: string, verb: string) => {
    if (failure) {
      throw new Error(failure);
    }
    acted.push(`${verb} ${id}`);
  },
  job: async (id: string) => {
    if (failure) {
      throw new Error(failure);
    }
    return { attach: `%konduktor attach ${id}` } as IJobDetail;
  }
};

/** Press a button of the dialog that comes. */
async function answer(label: string): Promise<void> {
  await new Promise(resolve => setTimeout(resolve, 50));
  const buttons = [...document.querySelectorAll<HTMLElement>('.jp-Dialog button')];
  buttons.find(button => button.textContent!.includes(label))!.click();
}

beforeEach(() => {
  Notification.dismiss();
  commands = new CommandRegistry();
  model = new FakeModel();
  model.jobs = [
    row('run'),
    row('held', { state: 'Stopped' }),
    row('over', { state: 'Failed' }),
    row('ending', { cancelling: true })
  ];
  acted = [];
  failure = '';
  addCommands(commands, model, api, nullTranslator.load(''));
});

afterEach(() => {
  Dialog.flush();
});

it('can be executed where they make sense', () => {
  const able = (command: string) =>
    [...model.jobs.map(job => job.id), 'local/unknown'].filter(id =>
      commands.isEnabled(command, { id })
    );
  expect(able(CommandIDs.cancel)).toEqual(['local/run', 'local/held']);
  expect(able(CommandIDs.stop)).toEqual(['local/run']);
  expect(able(CommandIDs.resume)).toEqual(['local/held']);
  expect(able(CommandIDs.copyAttachCode)).toEqual(model.jobs.map(job => job.id));
});

it('ask before they cancel', async () => {
  const kept = commands.execute(CommandIDs.cancel, { id: 'local/run' });
  await answer('Keep It');
  await kept;
  expect(acted).toEqual([]);
  const cancelled = commands.execute(CommandIDs.cancel, { id: 'local/run' });
  await answer('Cancel Job');
  await cancelled;
  expect(acted).toEqual(['cancel local/run']);
  expect(model.refresh).toHaveBeenCalledTimes(1);
});

it('stop and resume at once, and look what came of it', async () => {
  await commands.execute(CommandIDs.stop, { id: 'local/run' });
  await commands.execute(CommandIDs.resume, { id: 'local/held' });
  expect(acted).toEqual(['stop local/run', 'resume local/held']);
  expect(model.refresh).toHaveBeenCalledTimes(2);
});

it('say in one line what the server refused', async () => {
  failure = 'You may not stop jobs of bob';
  await commands.execute(CommandIDs.stop, { id: 'local/run' });
  expect(Notification.manager.notifications.map(each => [each.type, each.message])).toEqual([
    ['error', 'You may not stop jobs of bob']
  ]);
  expect(document.querySelector('.jp-Dialog')).toBeNull();
});

it('copy what attaches to a job', async () => {
  const copied = jest.spyOn(Clipboard, 'copyToSystem').mockImplementation(() => undefined);
  await commands.execute(CommandIDs.copyAttachCode, { id: 'local/over' });
  expect(copied).toHaveBeenCalledWith('%konduktor attach local/over');
});
