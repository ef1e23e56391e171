/** From a job to the notebook and the cell that submitted it. */
import { Notification } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import { NotebookPanel, type INotebookTracker } from '@jupyterlab/notebook';
import { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IJobRow } from '../tokens';
import { indexOf, reveal } from './notebook';

/** Open the notebook that submitted a job and bring its cell into view; say so where one of them is not there. */
export async function openNotebook(
  job: IJobRow,
  documents: IDocumentManager,
  tracker: INotebookTracker,
  trans: TranslationBundle
): Promise<void> {
  const panel = openHere(job, tracker) ?? (await openAt(job.notebook, documents, trans));
  if (!panel) {
    return;
  }
  documents.openOrReveal(panel.context.path);
  await panel.revealed;
  const index = indexOf(panel.content.model, job.cell);
  if (index >= 0) {
    await reveal(panel.content, index);
  } else if (job.cell) {
    Notification.info(
      trans.__('The cell that submitted %1 is not in %2 any more.', job.name, panel.context.path),
      { autoClose: 5000 }
    );
  }
}

/** The open notebook that has the cell: a notebook that was renamed since is found by it, and only so. */
function openHere(job: IJobRow, tracker: INotebookTracker): NotebookPanel | undefined {
  const having = tracker.filter(panel => indexOf(panel.content.model, job.cell) >= 0);
  return having.find(panel => panel.context.path === job.notebook) ?? having[0];
}

async function openAt(
  path: string,
  documents: IDocumentManager,
  trans: TranslationBundle
): Promise<NotebookPanel | undefined> {
  if (!documents.findWidget(path)) {
    try {
      // Asked for first, since opening what is not there leaves an empty tab and a dialog.
      await documents.services.contents.get(path, { content: false });
    } catch (error) {
      const gone = error instanceof ServerConnection.ResponseError && error.response.status === 404;
      Notification.warning(
        gone
          ? trans.__('%1 is not there any more: it was moved, renamed or deleted.', path)
          : trans.__('%1 cannot be opened: %2', path, (error as Error).message),
        { autoClose: 5000 }
      );
      return undefined;
    }
  }
  const widget = documents.openOrReveal(path, 'Notebook');
  if (!(widget instanceof NotebookPanel)) {
    return undefined;
  }
  await widget.context.ready;
  return widget;
}
