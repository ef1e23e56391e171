/** Commands between jobs and the cells of notebooks. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette, Notification } from '@jupyterlab/apputils';
import { IDocumentManager } from '@jupyterlab/docmanager';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { addBelowIcon, notebookIcon, runIcon } from '@jupyterlab/ui-components';

import { Api } from '../api';
import { CommandIDs, DOMAIN, IJobsModel } from '../tokens';
import { insertBelow, reveal } from './notebook';
import { openNotebook } from './open';
import { runCell, type ITarget } from './run';

/** What the commands about one job take. */
const ONE_JOB = {
  args: {
    type: 'object',
    properties: { id: { type: 'string', description: 'The job, as BACKEND/NAME.' } },
    required: ['id']
  }
} as const;

export const cellsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-konduktor:cells',
  description:
    'Runs a cell as a job, attaches a notebook to a job, and finds the cell that submitted one.',
  autoStart: true,
  requires: [INotebookTracker, IDocumentManager, IJobsModel],
  optional: [ITranslator, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    documents: IDocumentManager,
    jobs: IJobsModel,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ) => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    addCommands(app, tracker, documents, jobs, trans);
    palette?.addItem({ command: CommandIDs.runCell, category: trans.__('Konduktor') });
  }
};

export function addCommands(
  app: JupyterFrontEnd,
  tracker: INotebookTracker,
  documents: IDocumentManager,
  jobs: IJobsModel,
  trans: TranslationBundle
): void {
  const { commands, shell } = app;
  const api = new Api(app.serviceManager.serverSettings);
  /** The cell that a context menu was opened on, which need not be the active one; else the active one. */
  const target = (args: { isContextMenu?: unknown }): ITarget | null => {
    const node = args.isContextMenu
      ? app.contextMenuHitTest(found => found.classList.contains('jp-Cell'))
      : tracker.currentWidget?.content.activeCell?.node;
    const panel = node && tracker.find(found => found.content.node.contains(node));
    const cell = panel?.content.widgets.find(found => found.node === node);
    return panel && cell ? { panel, cell } : null;
  };
  const row = (args: { id?: unknown }) => jobs.get(String(args.id ?? ''));

  commands.addCommand(CommandIDs.runCell, {
    label: trans.__('Run Selected Cell as a Job…'),
    icon: runIcon,
    describedBy: {
      args: {
        type: 'object',
        properties: {
          isContextMenu: {
            type: 'boolean',
            description: 'The cell that was clicked, not the active one.'
          }
        }
      }
    },
    caption: args =>
      whyNotCell(target(args), trans) ||
      trans.__('Choose resources, and write them above the cell'),
    isEnabled: args => !whyNotCell(target(args), trans),
    execute: args => runCell(target(args)!, api, jobs, trans)
  });

  commands.addCommand(CommandIDs.insertAttachCell, {
    label: trans.__('Insert Attach Cell'),
    icon: addBelowIcon,
    describedBy: ONE_JOB,
    caption: () =>
      tracker.currentWidget
        ? trans.__(
            'Insert a cell that follows this job and brings its values, below the active one'
          )
        : trans.__('Open a notebook first: the cell is inserted below its active one'),
    isEnabled: args => !!tracker.currentWidget?.content.model && !!row(args),
    execute: async args => {
      const panel = tracker.currentWidget!;
      let code: string;
      try {
        code = (await api.job(row(args)!.id)).attach;
      } catch (error) {
        Notification.error(trans.__('No cell was inserted: %1', (error as Error).message), {
          autoClose: 5000
        });
        return;
      }
      shell.activateById(panel.id);
      await reveal(panel.content, insertBelow(panel.content, code));
    }
  });

  commands.addCommand(CommandIDs.openNotebook, {
    label: trans.__('Open Notebook'),
    icon: notebookIcon,
    describedBy: ONE_JOB,
    caption: args =>
      row(args)?.notebook
        ? trans.__('Show the cell that submitted this job')
        : trans.__('This job was not submitted from a notebook of this server'),
    isEnabled: args => !!row(args)?.notebook,
    execute: args => openNotebook(row(args)!, documents, tracker, trans)
  });

  // The caption and state of a command are asked for again when they may have changed.
  tracker.currentChanged.connect(() => {
    commands.notifyCommandChanged(CommandIDs.insertAttachCell);
    commands.notifyCommandChanged(CommandIDs.runCell);
  });
  tracker.activeCellChanged.connect(() => commands.notifyCommandChanged(CommandIDs.runCell));
}

/** Why a cell cannot be run as a job; "" if it can. */
function whyNotCell(target: ITarget | null, trans: TranslationBundle): string {
  if (!target) {
    return trans.__('Open a notebook and select a code cell first');
  }
  const { panel, cell } = target;
  if (cell.model.type !== 'code') {
    return trans.__('Only a code cell can run as a job');
  }
  if (cell.model.getMetadata('editable') === false) {
    return trans.__('This cell may not be changed');
  }
  const language = panel.content.model?.defaultKernelLanguage;
  return language && language !== 'python' ? trans.__('Only Python cells can run as a job') : '';
}
