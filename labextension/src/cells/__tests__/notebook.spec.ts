import { NotebookModel } from '@jupyterlab/notebook';

import { ensureLoaded, indexOf, LOAD, writeLine } from '../notebook';

function notebook(...sources: string[]): NotebookModel {
  const model = new NotebookModel();
  model.sharedModel.insertCells(
    0,
    sources.map((source, index) => ({
      cell_type: 'code' as const,
      id: `cell-${index}`,
      source,
      metadata: {}
    }))
  );
  model.sharedModel.clearUndoHistory();
  return model;
}

// Every cell that is made reads its shared types before it is part of a notebook, and yjs warns of each.
beforeAll(() => void jest.spyOn(console, 'warn').mockImplementation());
afterAll(() => jest.restoreAllMocks());

const sources = (model: NotebookModel) =>
  [...model.cells].map(cell => cell.sharedModel.getSource());

describe('the line of a cell', () => {
  it.each([
    ['', '%%konduktor --gpus 1\n'],
    ['x = 1\n', '%%konduktor --gpus 1\nx = 1\n'],
    ['%%time\nx = 1', '%%konduktor --gpus 1\n%%time\nx = 1'],
    ['%%konduktor --nodes 2\nx = 1', '%%konduktor --gpus 1\nx = 1'],
    ['\n  %%konduktor\n  x = 1', '\n  %%konduktor --gpus 1\n  x = 1']
  ])('is written into %j', (before, after) => {
    const model = notebook(before);
    const cell = model.cells.get(0);
    writeLine(cell, '--gpus 1');
    expect(cell.sharedModel.getSource()).toBe(after);
    cell.sharedModel.undo();
    expect(cell.sharedModel.getSource()).toBe(before);
  });

  it('can be without options', () => {
    const model = notebook('%%konduktor --gpus 1\nx');
    writeLine(model.cells.get(0), '');
    expect(sources(model)).toEqual(['%%konduktor\nx']);
  });
});

describe('the cell that loads the magics', () => {
  it.each([
    [LOAD],
    ['import os\n  %load_ext  jupyter_konduktor  \n'],
    ['%reload_ext jupyter_konduktor']
  ])('is there in %j', source => {
    const model = notebook('x', source);
    expect(ensureLoaded(model, 0)).toBe(-1);
    expect(model.cells.length).toBe(2);
  });

  it.each([
    ['# %load_ext jupyter_konduktor'],
    ['%load_ext jupyter_konduktor_more'],
    ['load_ext = "jupyter_konduktor"']
  ])('is not there in %j and is inserted above', source => {
    const model = notebook('a', source);
    expect(ensureLoaded(model, 1)).toBe(1);
    expect(sources(model)).toEqual(['a', LOAD, source]);
    model.sharedModel.undo();
    expect(sources(model)).toEqual(['a', source]);
  });

  it('is no text of a Markdown cell', () => {
    const model = new NotebookModel();
    model.sharedModel.insertCell(0, { cell_type: 'markdown', source: LOAD });
    expect(ensureLoaded(model, 1)).toBe(1);
  });
});

it('finds a cell by its id', () => {
  const model = notebook('a', 'b');
  expect(indexOf(model, 'cell-1')).toBe(1);
  expect(indexOf(model, 'other')).toBe(-1);
  expect(indexOf(model, '')).toBe(-1);
  expect(indexOf(null, 'cell-1')).toBe(-1);
});
