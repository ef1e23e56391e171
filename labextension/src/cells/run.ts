/** "Run selected cell as a job…": ask for resources, write the line, and run the cell if that is wished. */
import { Dialog, type ISessionContext } from '@jupyterlab/apputils';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { Api } from '../api';
import type { IJobsModel } from '../tokens';
import { read } from './fields';
import { RunForm, type IOffers } from './form';
import { find, LineError, parse, type IItem } from './line';
import { ensureLoaded, LOAD, writeLine } from './notebook';

/** A cell, and the notebook it stands in. */
export interface ITarget {
  panel: NotebookPanel;
  cell: NotebookPanel['content']['widgets'][number];
}

/** Ask, and do what was chosen; nothing is changed before. */
export async function runCell(
  { panel, cell }: ITarget,
  api: Api,
  jobs: IJobsModel,
  trans: TranslationBundle
): Promise<void> {
  const notebook = panel.content;
  notebook.activeCellIndex = notebook.widgets.indexOf(cell);
  const { items, note } = present(cell.model.sharedModel.getSource(), trans);
  const kinds = [...new Set(jobs.jobs.map(job => job.asked.gpu_kind).filter(Boolean))];
  const offers = [
    Promise.resolve({ kinds, notes: note ? [note] : [] }),
    fromSettings(api),
    fromQueues(api, trans),
    fromKernel(panel.sessionContext, api, trans)
  ];
  const chosen = await new Dialog({
    title: trans.__('Run selected cell as a job'),
    body: new RunForm({ items, fields: read(items), offers, trans }),
    buttons: [
      Dialog.cancelButton({ label: trans.__('Cancel') }),
      Dialog.createButton({
        label: trans.__('Write'),
        caption: trans.__('Write the line above the cell'),
        actions: ['write']
      }),
      Dialog.okButton({
        label: trans.__('Write and run'),
        caption: trans.__('Write the line above the cell and run it'),
        actions: ['run']
      })
    ],
    focusNodeSelector: 'input'
  }).launch();
  if (chosen.value === null || cell.isDisposed) {
    return;
  }
  writeLine(cell.model, chosen.value);
  const loading = ensureLoaded(notebook.model!, notebook.widgets.indexOf(cell));
  if (!chosen.button.actions.includes('run')) {
    return;
  }
  if (loading < 0) {
    // A cell has it, but it may have run in an earlier kernel; loading it twice changes nothing.
    void panel.sessionContext.session?.kernel
      ?.requestExecute({ code: LOAD, silent: true, store_history: false })
      .done.catch(() => undefined); // the kernel has ended, which the cell says
  }
  const cells = loading < 0 ? [cell] : [notebook.widgets[loading], cell];
  await NotebookActions.runCells(notebook, cells, panel.sessionContext);
}

/** The options of the line that stands in a cell; one that cannot be read is replaced, and the note says so. */
function present(source: string, trans: TranslationBundle): { items: IItem[]; note: string } {
  try {
    return { items: parse(find(source)?.options ?? ''), note: '' };
  } catch (error) {
    if (!(error instanceof LineError)) {
      throw error;
    }
    return {
      items: [],
      note: trans.__('The line of this cell is replaced, for it cannot be read: %1.', error.message)
    };
  }
}

/** The kinds of GPU that the settings map to the cluster's own names. */
async function fromSettings(api: Api): Promise<Partial<IOffers>> {
  try {
    const settings = await api.serverSettings();
    const accelerators = settings.find(setting => setting.key === 'accelerators')?.value;
    return { kinds: accelerators ? Object.keys(JSON.parse(accelerators)) : [] };
  } catch {
    return {}; // any kind can be typed, and the list of jobs says that the server does not answer
  }
}

async function fromQueues(api: Api, trans: TranslationBundle): Promise<Partial<IOffers>> {
  try {
    const { queues, errors } = await api.queues();
    return { queues, notes: errors.map(error => trans.__('Queues cannot be shown: %1', error)) };
  } catch (error) {
    return { notes: [trans.__('Queues cannot be shown: %1', (error as Error).message)] };
  }
}

/** Say what the kernel lacks. A busy kernel is not asked: it would answer when its cells are done. */
export async function fromKernel(
  context: ISessionContext,
  api: Api,
  trans: TranslationBundle
): Promise<Partial<IOffers>> {
  const kernel = context.session?.kernel;
  if (!kernel || kernel.status !== 'idle') {
    return {};
  }
  let found: string | null;
  try {
    found = await versionIn(kernel);
  } catch {
    return {}; // the kernel has ended, which the notebook shows
  }
  if (found === null) {
    const advice = trans.__(
      "This notebook's kernel has no jupyter_konduktor: run %pip install jupyter_konduktor in a cell, or choose a kernel that has it."
    );
    return { notes: [advice] };
  }
  const mine = (await api.about().catch(() => null))?.version ?? found;
  return found === mine
    ? {}
    : { notes: [trans.__('The kernel has jupyter_konduktor %1, the server %2.', found, mine)] };
}

/** The version of the package that a kernel can import, or null. */
async function versionIn(kernel: Kernel.IKernelConnection): Promise<string | null> {
  const { content } = await kernel.requestExecute({
    code: '',
    silent: true,
    store_history: false,
    user_expressions: { version: "__import__('jupyter_konduktor').__version__" }
  }).done;
  if (content.status !== 'ok') {
    return null;
  }
  const answer = content.user_expressions.version as {
    status: string;
    data?: Record<string, string>;
  };
  return answer.status === 'ok' ? (answer.data?.['text/plain'] ?? '').replace(/['"]/g, '') : null;
}
