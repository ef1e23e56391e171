import { Dialog } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';
import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import axe from 'axe-core';
import React from 'react';

import type { IQueue } from '../../tokens';
import { read } from '../fields';
import { Form, RunForm, type IOffers } from '../form';
import { parse } from '../line';

const trans = nullTranslator.load('');

const QUEUE: IQueue = {
  backend: 'kubernetes',
  name: 'user-queue',
  running: 2,
  pending: 1,
  flavors: { h100: { gpu: { used: 10, total: 16 }, cpu: { used: 1, total: 2 } } },
  message: ''
};

async function show(line = '', ...offers: Partial<IOffers>[]): Promise<jest.Mock> {
  const items = parse(line);
  const onChange = jest.fn();
  await act(async () => {
    render(
      <Form
        items={items}
        fields={read(items)}
        offers={offers.map(offer => Promise.resolve(offer))}
        trans={trans}
        onChange={onChange}
      />
    );
  });
  return onChange;
}

function fill(label: string, value: string): void {
  fireEvent.change(screen.getByLabelText(label), { target: { value } });
}

const preview = () => screen.getByRole('status', { name: 'The line that is written' }).textContent;

afterEach(cleanup);

describe('the form', () => {
  it('shows the line as it is filled in, and gives it', async () => {
    const onChange = await show();
    expect(preview()).toBe('%%konduktor');
    fill('Kind of GPU', 'H100');
    fill('GPUs per node', '8');
    fill('Queue', 'user-queue');
    fireEvent.click(screen.getByLabelText('Do not wait for it'));
    fireEvent.change(screen.getByLabelText('Runs on'), { target: { value: 'kubernetes' } });
    const line = '--gpus H100:8 --queue user-queue --backend kubernetes --detach';
    expect(preview()).toBe(`%%konduktor ${line}`);
    expect(onChange).toHaveBeenLastCalledWith(line);
  });

  it('is filled with the options that stand in the cell', async () => {
    await show("--env 'A=b c' --nodes 2 --later --detach");
    expect(screen.getByLabelText('Nodes')).toHaveProperty('value', '2');
    expect(screen.getByLabelText('Do not wait for it')).toHaveProperty('checked', true);
    fill('Nodes', '');
    expect(preview()).toBe("%%konduktor --env 'A=b c' --later --detach");
  });

  it('offers kinds and queues with what is free in them', async () => {
    const local = { ...QUEUE, backend: 'local', name: 'local' };
    await show('', { kinds: ['H100'] }, { kinds: ['H100', 'A100'] }, { queues: [QUEUE, local] });
    const choices = (label: string) => {
      const list = document.getElementById(screen.getByLabelText(label).getAttribute('list')!)!;
      return [...list.querySelectorAll('option')].map(found => [found.value, found.textContent]);
    };
    expect(choices('Kind of GPU').map(([kind]) => kind)).toEqual(['H100', 'A100']);
    expect(choices('Queue')).toEqual([['user-queue', 'h100: 6 of 16 GPUs free']]);
    fill('Queue', 'user-queue');
    expect(screen.getByText('h100: 6 of 16 GPUs free, 1 job waits')).toBeTruthy();
  });

  it('says why a queue takes no jobs, as text', async () => {
    await show('--queue user-queue', { queues: [{ ...QUEUE, message: '<b>stopped</b>' }] });
    expect(screen.getByText('<b>stopped</b>')).toBeTruthy();
  });

  it('says what is wrong beside its field', async () => {
    await show();
    fill('Nodes', 'two');
    const nodes = screen.getByLabelText('Nodes');
    expect(nodes.getAttribute('aria-invalid')).toBe('true');
    const said = document.getElementById(nodes.getAttribute('aria-describedby')!)!;
    expect(said.textContent).toBe('The number of nodes is a whole number from 1 to 9,999.');
    fill('Nodes', '2');
    expect(screen.queryByRole('alert')).toBeNull();
  });

  it('has a label for everything', async () => {
    await show('--nodes two', {
      kinds: ['H100'],
      queues: [QUEUE],
      notes: ['Queues cannot be shown: no']
    });
    const { violations } = await axe.run(document.body, {
      rules: { region: { enabled: false }, 'color-contrast': { enabled: false } }
    });
    expect(violations.map(found => found.id)).toEqual([]);
  });
});

describe('the dialog', () => {
  it('accepts nothing while something is wrong, and gives the line then', async () => {
    const items = parse('--nodes two');
    const dialog = new Dialog({
      body: new RunForm({ items, fields: read(items), offers: [], trans }),
      buttons: [Dialog.cancelButton(), Dialog.okButton({ label: 'Write' })]
    });
    let result: Promise<Dialog.IResult<string>>;
    await act(async () => {
      result = dialog.launch();
      await dialog.ready;
    });
    const button = screen.getByRole('button', { name: 'Write', hidden: true }) as HTMLButtonElement;
    expect(button.disabled).toBe(true);
    await act(async () => dialog.resolve(1));
    expect(dialog.isDisposed).toBe(false);
    await act(async () => fill('Nodes', '2'));
    expect(button.disabled).toBe(false);
    await act(async () => dialog.resolve(1));
    expect((await result!).value).toBe('--nodes 2');
  });
});
