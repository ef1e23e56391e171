/** What can be done to a job, as commands. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Clipboard, Dialog, ICommandPalette, Notification, showDialog } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import {
  closeIcon,
  copyIcon,
  refreshIcon,
  runIcon,
  stopIcon,
  type LabIcon
} from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import { Api } from './api';
import { CommandIDs, DOMAIN, IJobsModel, type IJobRow } from './tokens';
import { isOver } from './words';

/** What the commands about one job take. */
const ONE_JOB = {
  args: {
    type: 'object',
    properties: {
      id: { type: 'string', description: 'The job, as BACKEND/NAME.' }
    },
    required: ['id']
  }
} as const;

const NO_ARGS = { args: { type: 'object', properties: {} } } as const;

/** Whether the end of a job can still be asked for. */
export function canCancel(job: IJobRow): boolean {
  return !isOver(job.state) && !job.cancelling;
}

export function canStop(job: IJobRow): boolean {
  return canCancel(job) && job.state !== 'Stopped';
}

export function canResume(job: IJobRow): boolean {
  return job.state === 'Stopped' && !job.cancelling;
}

/** Register the commands that act on jobs through the server. */
export function addCommands(
  commands: CommandRegistry,
  model: IJobsModel,
  api: Pick<Api, 'act' | 'job'>,
  trans: TranslationBundle
): void {
  const jobOf = (args: ReadonlyPartialJSONObject) => model.get(String(args.id));

  const act = async (id: string, verb: 'cancel' | 'stop' | 'resume') => {
    try {
      await api.act(id, verb);
    } catch (error) {
      complain(error);
    }
    await model.refresh();
  };

  const add = (
    id: string,
    label: string,
    caption: string,
    icon: LabIcon,
    isEnabled: (job: IJobRow) => boolean,
    execute: (job: IJobRow) => Promise<void>
  ) =>
    commands.addCommand(id, {
      label,
      caption,
      icon: icon.bindprops({ stylesheet: 'menuItem' }),
      describedBy: ONE_JOB,
      isEnabled: args => {
        const job = jobOf(args);
        return job !== undefined && isEnabled(job);
      },
      execute: async args => {
        const job = jobOf(args);
        if (job) {
          await execute(job);
        }
      }
    });

  add(
    CommandIDs.cancel,
    trans.__('Cancel Job…'),
    trans.__('End the job; its log stays'),
    closeIcon,
    canCancel,
    async job => {
      const answer = await showDialog({
        title: trans.__('Cancel %1?', job.name),
        body: trans.__('It ends now and returns no result. Its log stays.'),
        buttons: [
          Dialog.cancelButton({ label: trans.__('Keep It') }),
          Dialog.warnButton({ label: trans.__('Cancel Job') })
        ],
        defaultButton: 0
      });
      if (answer.button.accept) {
        await act(job.id, 'cancel');
      }
    }
  );
  add(
    CommandIDs.stop,
    trans.__('Stop Job'),
    trans.__('Give its resources back and hold it until it is resumed'),
    stopIcon,
    canStop,
    job => act(job.id, 'stop')
  );
  add(
    CommandIDs.resume,
    trans.__('Resume Job'),
    trans.__('Queue it again'),
    runIcon,
    canResume,
    job => act(job.id, 'resume')
  );
  add(
    CommandIDs.copyAttachCode,
    trans.__('Copy Attach Code'),
    trans.__('Copy the line that brings its output and values into a notebook'),
    copyIcon,
    () => true,
    async job => {
      try {
        const { attach } = await api.job(job.id);
        Clipboard.copyToSystem(attach);
        Notification.success(trans.__('Copied: %1', attach), { autoClose: 2000 });
      } catch (error) {
        complain(error);
      }
    }
  );
  commands.addCommand(CommandIDs.refresh, {
    label: trans.__('Refresh Jobs'),
    caption: trans.__('Ask the server for the jobs now'),
    icon: refreshIcon,
    describedBy: NO_ARGS,
    execute: () => model.refresh()
  });
}

export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-konduktor:commands',
  description: 'Adds the commands that cancel, stop, resume and attach to jobs.',
  autoStart: true,
  requires: [IJobsModel],
  optional: [ICommandPalette, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IJobsModel,
    palette: ICommandPalette | null,
    translator: ITranslator | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    addCommands(app.commands, model, new Api(app.serviceManager.serverSettings), trans);
    palette?.addItem({ command: CommandIDs.refresh, category: trans.__('Konduktor') });
  }
};

/** Say why what was asked for did not happen, in one line that goes away by itself. */
function complain(error: unknown): void {
  Notification.error(error instanceof Error ? error.message : String(error), { autoClose: 8000 });
}
