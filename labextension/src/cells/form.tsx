/** The form of resources: fields, what can be chosen, what is wrong, and the line as it will be written. */
import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect, ReactWidget } from '@jupyterlab/ui-components';
import React, { useEffect, useId, useMemo, useRef, useState } from 'react';

import type { IQueue } from '../tokens';
import { check, write, type IFields, type TextField } from './fields';
import type { IItem } from './line';

/** What can be chosen, as far as it is known, and what the user should know before writing. */
export interface IOffers {
  kinds: string[];
  queues: IQueue[];
  notes: string[];
}

export interface IFormProps {
  /** The options that stand in the cell, and what the form shows of them. */
  items: readonly IItem[];
  fields: IFields;
  /** Each is merged as it comes; none fails. */
  offers: readonly Promise<Partial<IOffers>>[];
  trans: TranslationBundle;
  /** The options, whenever they change. */
  onChange(line: string): void;
}

/** The form as the body of a dialog; its value is the options of the line. */
export class RunForm extends ReactWidget implements Dialog.IBodyWidget<string> {
  constructor(private readonly _props: Omit<IFormProps, 'onChange'>) {
    super();
    this.addClass('jp-KonduktorCells-body');
    this._line = write(_props.items, _props.fields);
  }

  getValue(): string {
    return this._line;
  }

  protected render(): JSX.Element {
    return <Form {...this._props} onChange={line => (this._line = line)} />;
  }

  private _line: string;
}

export function Form({ items, fields: first, offers, trans, onChange }: IFormProps): JSX.Element {
  const [fields, setFields] = useState(first);
  const offered = useOffers(offers);
  const wrong = useMemo(() => check(fields, trans), [fields, trans]);
  const line = useMemo(() => write(items, fields), [items, fields]);
  const node = useRef<HTMLDivElement>(null);
  const id = useId();

  useEffect(() => {
    onChange(line);
    // The dialog looks for errors when it sees an input event, which is before React has shown them.
    node.current!.dispatchEvent(new Event('input'));
  }, [line, wrong, onChange]);

  const queues = offered.queues.filter(
    queue => queue.backend !== 'local' && (!fields.backend || queue.backend === fields.backend)
  );
  const set = (change: Partial<IFields>) => setFields(now => ({ ...now, ...change }));
  const text = (
    name: TextField,
    label: string,
    example: string,
    more: Partial<ITextProps> = {}
  ) => (
    <Text
      label={label}
      example={trans.__('e.g. %1', example)}
      value={fields[name]}
      error={wrong[name]}
      onChange={value => set({ [name]: value })}
      {...more}
    />
  );
  return (
    <div ref={node} className="jp-KonduktorCells-form">
      {offered.notes.map(note => (
        <p key={note} className="jp-KonduktorCells-note" role="status">
          {note}
        </p>
      ))}
      <div className="jp-KonduktorCells-fields" role="group" aria-label={trans.__('For each node')}>
        {text('gpuKind', trans.__('Kind of GPU'), 'H100', {
          choices: offered.kinds.map(kind => [kind, ''])
        })}
        {text('gpuCount', trans.__('GPUs per node'), '8', { inputMode: 'numeric' })}
        {text('cpus', trans.__('CPUs per node'), '16')}
        {text('memory', trans.__('Memory per node'), '64Gi')}
        {text('nodes', trans.__('Nodes'), '1', { inputMode: 'numeric' })}
      </div>
      <div className="jp-KonduktorCells-fields" role="group" aria-label={trans.__('Where it runs')}>
        <div className="jp-KonduktorCells-field">
          <label htmlFor={`${id}-backend`}>{trans.__('Runs on')}</label>
          <HTMLSelect
            id={`${id}-backend`}
            value={fields.backend}
            onChange={event => set({ backend: event.target.value })}
            options={[
              { value: '', label: trans.__('As set') },
              { value: 'local', label: trans.__('This machine') },
              { value: 'kubernetes', label: trans.__('The cluster') },
              // What a cell says stays as it is, so that the kernel can say what is wrong with it.
              ...(['', 'local', 'kubernetes'].includes(first.backend) ? [] : [first.backend])
            ]}
          />
        </div>
        {text('queue', trans.__('Queue'), 'user-queue', {
          choices: queues.map(queue => [queue.name, free(queue, trans)]),
          hint: describe(
            queues.find(queue => queue.name === fields.queue.trim()),
            trans
          )
        })}
        {text('priority', trans.__('Priority'), 'low-priority')}
        {text('image', trans.__('Image'), 'python:3.12')}
      </div>
      <div className="jp-KonduktorCells-fields" role="group" aria-label={trans.__('The job')}>
        {text('name', trans.__('Name'), 'train')}
        {text('timeout', trans.__('Longest time'), '2h')}
        {text('out', trans.__('Variables to bring back'), 'model,loss')}
        <label className="jp-KonduktorCells-check">
          <input
            type="checkbox"
            checked={fields.detach}
            onChange={event => set({ detach: event.target.checked })}
          />
          {trans.__('Do not wait for it')}
        </label>
      </div>
      <output
        className="jp-KonduktorCells-preview"
        aria-label={trans.__('The line that is written')}
      >
        {`%%konduktor ${line}`.trim()}
      </output>
      <p className="jp-KonduktorCells-hint">
        {trans.__('What is left empty is as the settings say: %konduktor config shows them.')}
      </p>
    </div>
  );
}

interface ITextProps {
  label: string;
  example: string;
  value: string;
  error?: string;
  hint?: string;
  /** Value and what is said beside it. */
  choices?: [string, string][];
  inputMode?: 'numeric';
  onChange(value: string): void;
}

function Text({
  label,
  example,
  value,
  error,
  hint,
  choices,
  inputMode,
  onChange
}: ITextProps): JSX.Element {
  const id = useId();
  const below = error ?? hint;
  return (
    <div className="jp-KonduktorCells-field">
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        type="text"
        className="jp-mod-styled"
        value={value}
        placeholder={example}
        autoComplete="off"
        spellCheck={false}
        inputMode={inputMode}
        list={choices?.length ? `${id}-choices` : undefined}
        aria-invalid={error !== undefined}
        aria-describedby={below ? `${id}-below` : undefined}
        onChange={event => onChange(event.target.value)}
      />
      {!!choices?.length && (
        <datalist id={`${id}-choices`}>
          {choices.map(([choice, said]) => (
            <option key={choice} value={choice}>
              {said}
            </option>
          ))}
        </datalist>
      )}
      {below && (
        // jp-mod-error: the dialog accepts nothing while there is one.
        <p
          id={`${id}-below`}
          className={error ? 'jp-KonduktorCells-error jp-mod-error' : 'jp-KonduktorCells-hint'}
          role={error ? 'alert' : undefined}
        >
          {below}
        </p>
      )}
    </div>
  );
}

function useOffers(offers: readonly Promise<Partial<IOffers>>[]): IOffers {
  const [offered, setOffered] = useState<IOffers>({ kinds: [], queues: [], notes: [] });
  useEffect(() => {
    let shown = true;
    for (const offer of offers) {
      void offer.then(({ kinds = [], queues = [], notes = [] }) => {
        if (shown) {
          setOffered(now => ({
            kinds: [...new Set([...now.kinds, ...kinds])],
            queues: [...now.queues, ...queues],
            notes: [...now.notes, ...notes]
          }));
        }
      });
    }
    return () => {
      shown = false;
    };
  }, [offers]);
  return offered;
}

/** What is free in a queue: "h100: 6 of 16 GPUs free". */
function free(queue: IQueue, trans: TranslationBundle): string {
  const parts = Object.entries(queue.flavors).flatMap(([flavor, resources]) => {
    const { used = 0, total = null } = resources.gpu ?? {};
    if (total === null) {
      return [];
    }
    const text = trans.__('%1 of %2 GPUs free', Math.max(0, total - used), total);
    return [flavor ? `${flavor}: ${text}` : text];
  });
  return parts.join(', ');
}

function describe(queue: IQueue | undefined, trans: TranslationBundle): string {
  if (!queue) {
    return '';
  }
  const waiting = trans._n('%1 job waits', '%1 jobs wait', queue.pending, queue.pending);
  return queue.message || [free(queue, trans), waiting].filter(Boolean).join(', ');
}
