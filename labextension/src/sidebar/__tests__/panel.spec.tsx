import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { act, fireEvent, render, screen, within } from '@testing-library/react';
import axe from 'axe-core';
import * as React from 'react';

import { FakeModel, row } from '../../__tests__/fixtures';
import { CommandIDs, type IJobRow } from '../../tokens';
import { JobsPanel } from '../panel';

const trans = nullTranslator.load('');
const NOW = 1_000_000;

let model: FakeModel;
let commands: CommandRegistry;
let executed: [string, unknown][];
let openMenu: jest.Mock;

function show(jobs: IJobRow[], shown = true): HTMLElement {
  model.jobs = jobs;
  return render(
    <JobsPanel model={model} commands={commands} shown={shown} openMenu={openMenu} trans={trans} />
  ).container;
}

function change(jobs: IJobRow[]): void {
  act(() => {
    model.jobs = jobs;
    model.changed.emit();
  });
}

const rows = () => screen.queryAllByRole('row');
const focused = () => (document.activeElement as HTMLElement).dataset.job;
const press = (key: string) => fireEvent.keyDown(document.activeElement!, { key });

beforeEach(() => {
  jest.useFakeTimers({ now: NOW * 1000 });
  // jsdom lays nothing out: the list is given a height.
  jest.spyOn(HTMLElement.prototype, 'clientHeight', 'get').mockReturnValue(400);
  model = new FakeModel();
  commands = new CommandRegistry();
  executed = [];
  openMenu = jest.fn();
  for (const id of Object.values(CommandIDs)) {
    commands.addCommand(id, { label: id, execute: args => executed.push([id, args]) });
  }
});

afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

describe('a row', () => {
  it('says state, place in the queue, what it asked for, how long and why', () => {
    show([
      row('train', {
        state: 'Queued',
        position: 2,
        since: NOW - 200,
        message: 'Waits for quota: 8 of H100 asked, 3 free'
      })
    ]);
    const text = rows()[0].textContent;
    expect(text).toContain('train');
    expect(text).toContain('Queued · 2 jobs ahead · H100:8 · user-queue');
    expect(text).toContain('3 min 20 s');
    expect(text).toContain('Waits for quota: 8 of H100 asked, 3 free');
  });

  it.each<[Partial<IJobRow>, string]>([
    [{ state: 'Queued', position: 0 }, 'Queued · next in line'],
    [{ state: 'Queued', position: 1 }, 'Queued · 1 job ahead'],
    [{ cancelling: true }, 'Cancelling · '],
    [{ items: [100, 41] }, 'Running · 41 of 100 items'],
    [{ attempt: 3 }, 'attempt 4'],
    [{ state: 'Failed', finished: NOW - 7300 }, '2 h ago']
  ])('of %j says "%s"', (over, text) => {
    show([row('train', over)]);
    expect(rows()[0].textContent).toContain(text);
  });

  it('names the user of a job of another', () => {
    model.allUsers = true;
    show([row('train', { mine: false, user: 'bob' })]);
    expect(rows()[0].textContent).toContain('bob');
  });

  it('shows hostile text as text', () => {
    const evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>';
    const container = show([
      row(evil, { state: 'Queued', message: evil, queue: evil, user: evil, mine: true })
    ]);
    expect(container.querySelector('img, script')).toBeNull();
    expect(within(rows()[0]).getByText(evil, { selector: '.jp-Konduktor-name' })).toBeTruthy();
    expect((window as { evil?: number }).evil).toBeUndefined();
  });

  it('counts its seconds while it is shown only', () => {
    show([row('train', { started: NOW - 5 })]);
    expect(rows()[0].textContent).toContain('5 s');
    act(() => void jest.advanceTimersByTime(3000));
    expect(rows()[0].textContent).toContain('8 s');
  });

  it('counts nothing while it is hidden', () => {
    show([row('train', { started: NOW - 5 })], false);
    act(() => void jest.advanceTimersByTime(3000));
    expect(rows()[0].textContent).toContain('5 s');
    expect(jest.getTimerCount()).toBe(0);
  });

  it('offers what makes sense in its state', () => {
    show([row('a'), row('b', { state: 'Stopped' }), row('c', { state: 'Succeeded' })]);
    const buttons = rows().map(each =>
      within(each)
        .getAllByRole('button')
        .map(button => button.getAttribute('aria-label'))
    );
    expect(buttons).toEqual([
      ['Log', 'Stop', 'Cancel', 'More'],
      ['Log', 'Resume', 'Cancel', 'More'],
      ['Log', 'More']
    ]);
    fireEvent.click(within(rows()[1]).getByRole('button', { name: 'Resume' }));
    expect(executed).toEqual([[CommandIDs.resume, { id: 'local/b' }]]);
  });

  it('opens by a double click, and its menu by a right click', () => {
    show([row('a')]);
    fireEvent.doubleClick(rows()[0]);
    expect(executed).toEqual([[CommandIDs.openJob, { id: 'local/a' }]]);
    fireEvent.contextMenu(rows()[0], { clientX: 3, clientY: 4 });
    expect(openMenu).toHaveBeenCalledWith('local/a', 3, 4);
  });
});

describe('the keyboard', () => {
  const many = Array.from({ length: 500 }, (_, i) => row(`j${i}`));

  it('goes through the list, and Tab comes to one row only', () => {
    show(many);
    expect(rows().filter(each => each.tabIndex === 0).length).toBe(1);
    act(() => rows()[0].focus());
    press('ArrowDown');
    press('ArrowDown');
    expect(focused()).toBe('local/j2');
    press('ArrowUp');
    expect(focused()).toBe('local/j1');
    press('End');
    expect(focused()).toBe('local/j499');
    press('ArrowDown');
    expect(focused()).toBe('local/j499');
    press('PageUp');
    expect(focused()).toBe('local/j490');
    press('Home');
    expect(focused()).toBe('local/j0');
  });

  it('opens, cancels, and reaches the buttons of a row', () => {
    show([row('a')]);
    act(() => rows()[0].focus());
    press('Enter');
    press('Delete');
    expect(executed.map(([id]) => id)).toEqual([CommandIDs.openJob, CommandIDs.cancel]);
    press('ArrowRight');
    expect(document.activeElement!.getAttribute('aria-label')).toBe('Log');
    press('ArrowRight');
    expect(document.activeElement!.getAttribute('aria-label')).toBe('Stop');
    press('ArrowLeft');
    press('ArrowLeft');
    expect(focused()).toBe('local/a');
  });

  it('stays with its job when others come before it', () => {
    show([row('a'), row('b')]);
    act(() => rows()[1].focus());
    change([row('new'), row('a'), row('b')]);
    expect(focused()).toBe('local/b');
    press('ArrowUp');
    expect(focused()).toBe('local/a');
  });
});

describe('a long list', () => {
  it('draws only what is in sight, and says how many there are', () => {
    show(Array.from({ length: 10_000 }, (_, i) => row(`j${i}`)));
    expect(rows().length).toBeLessThan(40);
    const grid = screen.getByRole('grid', { name: 'Jobs' });
    expect(grid.getAttribute('aria-rowcount')).toBe('10000');
    fireEvent.scroll(grid, { target: { scrollTop: 42 * 5000 } });
    expect(rows().some(each => each.getAttribute('aria-rowindex') === '5001')).toBe(true);
  });

  it('keeps what is looked at in its place when jobs come above', () => {
    const jobs = Array.from({ length: 100 }, (_, i) => row(`j${i}`));
    show(jobs);
    const grid = screen.getByRole('grid');
    fireEvent.scroll(grid, { target: { scrollTop: 420 } });
    change([row('new'), ...jobs]);
    expect(grid.scrollTop).toBe(462);
  });

  it('leaves the rows that did not change as they are', () => {
    const [a, b] = [row('a'), row('b')];
    show([a, b]);
    const node = rows()[1];
    change([row('a', { state: 'Failed' }), b]);
    expect(rows()[1]).toBe(node);
    expect(rows()[0].dataset.state).toBe('Failed');
  });
});

describe('the filters', () => {
  it('narrow by state, text and queue', () => {
    show([row('a', { state: 'Failed' }), row('b'), row('c', { queue: 'other' })]);
    const failed = screen.getByRole('button', { name: 'Failed 1' });
    fireEvent.click(failed);
    expect(failed.getAttribute('aria-pressed')).toBe('true');
    expect(rows().map(each => each.dataset.job)).toEqual(['local/a']);
    fireEvent.click(failed);
    fireEvent.change(screen.getByRole('combobox', { name: 'Queue' }), {
      target: { value: 'other' }
    });
    expect(rows().map(each => each.dataset.job)).toEqual(['local/c']);
    fireEvent.change(screen.getByRole('searchbox'), { target: { value: 'zzz' } });
    expect(rows()).toEqual([]);
    fireEvent.click(screen.getByRole('button', { name: 'Show all' }));
    expect(rows().length).toBe(3);
  });

  it('show the jobs of others when asked to', () => {
    show([row('a'), row('b', { mine: false })]);
    expect(rows().length).toBe(1);
    fireEvent.click(screen.getByRole('button', { name: 'All jobs' }));
    expect(model.allUsers).toBe(true);
    change([...model.jobs]);
    expect(rows().length).toBe(2);
  });
});

describe('what is not as it should be', () => {
  it('is a line with Retry where the jobs of others cannot be listed, and nothing is unknown', () => {
    model.allUsers = true;
    model.backends = [
      { name: 'gpu', place: 'ctx/ns', unknown_since: null, message: 'jobsets may not be listed' }
    ];
    show([row('train')]);
    expect(screen.getByText('gpu: jobsets may not be listed')).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
    expect(model.refresh).toHaveBeenCalled();
  });

  it('is one line with Retry, above the jobs last known', () => {
    model.error = 'The Jupyter server does not answer';
    show([row('a')]);
    expect(screen.getByText('The Jupyter server does not answer')).toBeTruthy();
    expect(rows().length).toBe(1);
    fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
    expect(model.refresh).toHaveBeenCalled();
  });

  it('says since when a backend cannot be seen, and why', () => {
    const time = new Date(2026, 1, 3, 14, 5, 6);
    jest.setSystemTime(time);
    model.backends = [
      { name: 'gpu', place: 'ctx/ns', unknown_since: time.getTime() / 1000, message: 'no route' },
      { name: 'local', place: 'this machine', unknown_since: null, message: '' }
    ];
    show([]);
    expect(screen.getAllByText(/unknown since/).map(each => each.textContent)).toEqual([
      `gpu: unknown since ${time.toLocaleTimeString()}: no route`
    ]);
  });
});

describe('an empty list', () => {
  it('teaches the magic, and offers to run the selected cell', () => {
    show([]);
    expect(screen.getByText('%%konduktor --gpus H100:1')).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'Run selected cell as a job…' }));
    expect(executed).toEqual([[CommandIDs.runCell, {}]]);
  });

  it('shows nothing before the first answer', () => {
    model.ready = false;
    show([]);
    expect(screen.queryByText('No jobs yet')).toBeNull();
  });
});

describe('a screen reader', () => {
  it('hears of changes, of many at once in one sentence', () => {
    const container = show([row('a')]);
    const heard = () => container.querySelector('.jp-Konduktor-announcer')!.textContent;
    const emit = (job: IJobRow) => act(() => model.stateChanged.emit({ job, before: 'Queued' }));
    emit(row('a', { state: 'Succeeded' }));
    emit(row('b', { mine: false }));
    act(() => void jest.advanceTimersByTime(1000));
    expect(heard()).toBe('a is Succeeded');
    for (let i = 0; i < 100; i++) {
      emit(row(`j${i}`));
    }
    act(() => void jest.advanceTimersByTime(1000));
    expect(heard()).toBe('100 jobs have changed');
  });

  it('finds nothing that axe would object to', async () => {
    jest.useRealTimers();
    jest.spyOn(HTMLCanvasElement.prototype, 'getContext').mockReturnValue(null);
    const container = show([row('a', { state: 'Queued', message: 'Waits' }), row('b')], false);
    const { violations } = await axe.run(container, {
      rules: { 'color-contrast': { enabled: false }, region: { enabled: false } }
    });
    expect(violations).toEqual([]);
  });
});
