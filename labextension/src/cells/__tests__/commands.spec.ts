import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { INotebookTracker, Notebook, NotebookPanel } from '@jupyterlab/notebook';
import { NBTestUtils } from '@jupyterlab/notebook/lib/testutils';
import { NotebookModel } from '@jupyterlab/notebook';
import { ServerConnection } from '@jupyterlab/services';
import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import { CommandIDs, type IJobRow, type IJobsModel } from '../../tokens';
import { addCommands } from '..';
import { LOAD } from '../notebook';

const JOB = {
  id: 'local/train-7fq2x',
  name: 'train-7fq2x',
  notebook: 'sub/train.ipynb',
  cell: 'b'
} as IJobRow;
const LOOSE = { ...JOB, id: 'local/loose', notebook: '', cell: '' };

let notebook: Notebook;
let panels: { content: Notebook; context: { path: string }; id: string; revealed: Promise<void> }[];
let current: (typeof panels)[number] | null;
let commands: CommandRegistry;
let get: jest.Mock;
let openOrReveal: jest.Mock;
let fetch: jest.Mock;
let said: string[];
let clicked: HTMLElement | undefined;

const sources = () => [...notebook.model!.cells].map(cell => cell.sharedModel.getSource());

function answer(status: number, body: unknown): void {
  fetch.mockResolvedValue(new Response(JSON.stringify(body), { status }));
}

// React renders what belongs to JupyterLab here, and nothing of it is looked at.
beforeAll(() => Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: false }));

beforeEach(() => {
  jest.spyOn(console, 'warn').mockImplementation(); // yjs warns of every cell that is made
  notebook = NBTestUtils.createNotebook();
  notebook.model = new NotebookModel();
  notebook.model.sharedModel.insertCells(0, [
    { cell_type: 'code', id: 'a', source: '%%konduktor\nx = 1' },
    { cell_type: 'code', id: 'b', source: 'y = 2' },
    { cell_type: 'markdown', id: 'c', source: '# title' },
    { cell_type: 'code', id: 'd', source: 'z = 3', metadata: { editable: false } }
  ]);
  Widget.attach(notebook, document.body);
  notebook.activeCellIndex = 0;
  panels = [
    { content: notebook, context: { path: JOB.notebook }, id: 'panel', revealed: Promise.resolve() }
  ];
  current = panels[0];
  said = [];
  for (const kind of ['info', 'warning', 'error'] as const) {
    jest.spyOn(Notification, kind as 'info').mockImplementation((text: string) => {
      said.push(text);
      return '';
    });
  }

  commands = new CommandRegistry();
  get = jest.fn().mockResolvedValue({});
  openOrReveal = jest.fn(() => current);
  fetch = jest.fn();
  const tracker = {
    get currentWidget() {
      return current;
    },
    find: (test: (panel: NotebookPanel) => boolean) =>
      panels.find(panel => test(panel as unknown as NotebookPanel)),
    filter: (test: (panel: NotebookPanel) => boolean) =>
      panels.filter(panel => test(panel as unknown as NotebookPanel)),
    currentChanged: new Signal({}),
    activeCellChanged: new Signal({})
  };
  const jobs = { jobs: [JOB, LOOSE], get: (id: string) => [JOB, LOOSE].find(job => job.id === id) };
  addCommands(
    {
      commands,
      contextMenuHitTest: () => clicked,
      shell: { activateById: jest.fn() },
      serviceManager: { serverSettings: ServerConnection.makeSettings({ fetch }) }
    } as unknown as JupyterFrontEnd,
    tracker as unknown as INotebookTracker,
    {
      findWidget: () => undefined,
      openOrReveal,
      services: { contents: { get } }
    } as unknown as IDocumentManager,
    jobs as unknown as IJobsModel,
    nullTranslator.load('')
  );
});

afterEach(() => {
  notebook.dispose();
  jest.restoreAllMocks();
});

describe('running a cell', () => {
  it.each([
    [0, ''],
    [2, 'Only a code cell can run as a job'],
    [3, 'This cell may not be changed']
  ])('cell %d: %j', (index, why) => {
    notebook.activeCellIndex = index;
    expect(commands.isEnabled(CommandIDs.runCell)).toBe(!why);
    if (why) {
      expect(commands.caption(CommandIDs.runCell)).toBe(why);
    }
  });

  it('means the cell that was clicked where it comes from a context menu', () => {
    const fromMenu = { isContextMenu: true };
    clicked = notebook.widgets[2].node;
    expect(commands.isEnabled(CommandIDs.runCell, fromMenu)).toBe(false);
    notebook.activeCellIndex = 2;
    clicked = notebook.widgets[1].node;
    expect(commands.isEnabled(CommandIDs.runCell, fromMenu)).toBe(true);
    expect(commands.isEnabled(CommandIDs.runCell)).toBe(false);
  });

  it('needs a notebook', () => {
    current = null;
    expect(commands.isEnabled(CommandIDs.runCell)).toBe(false);
    expect(commands.caption(CommandIDs.runCell)).toBe(
      'Open a notebook and select a code cell first'
    );
  });
});

describe('inserting an attach cell', () => {
  const run = () => commands.execute(CommandIDs.insertAttachCell, { id: JOB.id });

  it('inserts what the server says below the active cell, and what loads the magics', async () => {
    answer(200, { attach: `${LOAD}\n%konduktor attach train-7fq2x` });
    await run();
    expect(sources().slice(0, 4)).toEqual([
      '%%konduktor\nx = 1',
      LOAD,
      '%konduktor attach train-7fq2x',
      'y = 2'
    ]);
    expect(notebook.activeCellIndex).toBe(2);
    await run();
    expect(sources().filter(source => source === LOAD)).toHaveLength(1);
  });

  it('inserts nothing where the server does not answer, and says so', async () => {
    answer(404, { message: 'There is no job train-7fq2x' });
    const before = sources();
    await run();
    expect(sources()).toEqual(before);
    expect(said).toEqual(['No cell was inserted: There is no job train-7fq2x']);
  });

  it('needs a notebook and a job', () => {
    expect(commands.isEnabled(CommandIDs.insertAttachCell, { id: JOB.id })).toBe(true);
    expect(commands.isEnabled(CommandIDs.insertAttachCell, { id: 'local/other' })).toBe(false);
    current = null;
    expect(commands.isEnabled(CommandIDs.insertAttachCell, { id: JOB.id })).toBe(false);
    expect(commands.caption(CommandIDs.insertAttachCell)).toMatch(/^Open a notebook first/);
  });
});

describe('opening the notebook of a job', () => {
  const run = () => commands.execute(CommandIDs.openNotebook, { id: JOB.id });

  it('makes its cell the active one', async () => {
    await run();
    expect(openOrReveal).toHaveBeenCalledWith(JOB.notebook);
    expect(notebook.activeCellIndex).toBe(1);
    expect(said).toEqual([]);
  });

  it('finds a notebook that is open and was renamed by its cell', async () => {
    panels[0].context.path = 'sub/renamed.ipynb';
    await run();
    expect(openOrReveal).toHaveBeenCalledWith('sub/renamed.ipynb');
    expect(notebook.activeCellIndex).toBe(1);
  });

  it('says that the notebook is not there', async () => {
    panels = [];
    get.mockRejectedValue(new ServerConnection.ResponseError(new Response('', { status: 404 })));
    await run();
    expect(openOrReveal).not.toHaveBeenCalled();
    expect(said).toEqual([
      'sub/train.ipynb is not there any more: it was moved, renamed or deleted.'
    ]);
  });

  it('is not possible where no notebook is known', () => {
    expect(commands.isEnabled(CommandIDs.openNotebook, { id: JOB.id })).toBe(true);
    expect(commands.isEnabled(CommandIDs.openNotebook, { id: LOOSE.id })).toBe(false);
    expect(commands.caption(CommandIDs.openNotebook, { id: LOOSE.id })).toBe(
      'This job was not submitted from a notebook of this server'
    );
  });
});
