/** Changes to the cells of a notebook, each of which can be undone. */
import type { INotebookModel, Notebook } from '@jupyterlab/notebook';

import { find } from './line';

type CellModel = ReturnType<INotebookModel['cells']['get']>;

/** What makes the magics known to a kernel. */
export const LOAD = '%load_ext jupyter_konduktor';

/** Write the line of a cell: in place of the one that is there, else above all. */
export function writeLine(cell: CellModel, options: string): void {
  const source = cell.sharedModel.getSource();
  const line = `%%konduktor ${options}`.trim();
  const place = find(source);
  if (place) {
    cell.sharedModel.updateSource(place.start, place.end, place.indent + line);
  } else {
    cell.sharedModel.updateSource(0, 0, `${line}\n`);
  }
}

/** See that a cell of the notebook loads the magics: give the index of the one that was inserted, or -1. */
export function ensureLoaded(model: INotebookModel, index: number): number {
  const loads = /^\s*%(re)?load_ext\s+jupyter_konduktor\s*$/m;
  for (const cell of model.cells) {
    if (cell.type === 'code' && loads.test(cell.sharedModel.getSource())) {
      return -1;
    }
  }
  return insertCode(model, index, LOAD);
}

/** Insert a code cell before the one at `index`, and give its index. */
export function insertCode(model: INotebookModel, index: number, source: string): number {
  // What the user inserts by a command of theirs is trusted, as an empty cell of theirs is.
  model.sharedModel.insertCell(index, { cell_type: 'code', source, metadata: { trusted: true } });
  return index;
}

/** Insert code below the active cell and give its index; what loads the magics has a cell of its own, once. */
export function insertBelow(notebook: Notebook, source: string): number {
  const model = notebook.model!;
  const code = source.split('\n').filter(line => line !== LOAD);
  const index = notebook.activeCell ? notebook.activeCellIndex + 1 : 0;
  const loading = ensureLoaded(model, index);
  return insertCode(model, loading < 0 ? index : loading + 1, code.join('\n'));
}

/** The index of a cell by its id, or -1. */
export function indexOf(model: INotebookModel | null, id: string): number {
  return id && model ? [...model.cells].findIndex(cell => cell.id === id) : -1;
}

/** Make a cell the active one and bring it into view, also where only those in view are rendered. */
export async function reveal(notebook: Notebook, index: number): Promise<void> {
  notebook.deselectAll();
  notebook.mode = 'command';
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'center');
  notebook.activeCell?.node.focus({ preventScroll: true });
}
