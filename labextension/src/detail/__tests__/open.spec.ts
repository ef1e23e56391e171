import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ServerConnection } from '@jupyterlab/services';
import { CommandRegistry } from '@lumino/commands';

import { CommandIDs } from '../../tokens';
import { detailPlugin } from '..';
import { FakeJobs } from './fixtures';

// The terminal needs a browser; its logic has tests of its own.
jest.mock('../../log/view', () => ({ LogView: () => null }));

it('opens one tab for a job, however quickly it is asked for twice', async () => {
  const commands = new CommandRegistry();
  const shell = { add: jest.fn(), activateById: jest.fn() };
  const serviceManager = { serverSettings: ServerConnection.makeSettings() };
  const app = { commands, shell, serviceManager } as unknown as JupyterFrontEnd;
  const settings = { load: async () => ({ composite: {} }) } as unknown as ISettingRegistry;
  void detailPlugin.activate(app, new FakeJobs(), null, settings, null, null);
  await Promise.all([
    commands.execute(CommandIDs.openJob, { id: 'local/a' }),
    commands.execute(CommandIDs.openLog, { id: 'local/a' }),
    commands.execute(CommandIDs.openJob, { id: 'local/b' })
  ]);
  expect(shell.add.mock.calls.map(([widget]) => widget.id)).toEqual([
    'jp-konduktor-job-local/a',
    'jp-konduktor-job-local/b'
  ]);
  expect(shell.activateById).toHaveBeenCalledTimes(3);
  shell.add.mock.calls.forEach(([widget]) => widget.dispose());
});
