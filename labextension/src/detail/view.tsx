/** One job: where it stands and why, what can be done to it, its log and its result. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

import type { Api } from '../api';
import { Glyph } from '../sidebar/glyph';
import { useNow, useSignal } from '../sidebar/hooks';
import { CommandIDs, type IJobDetail, type IJobRow } from '../tokens';
import { isOver, span, standing } from '../words';
import type { DetailModel, Tab } from './model';
import { Result } from './result';
import { type ITab, Tabs } from './tabs';
import { History, Timeline } from './timeline';

/** The terminal is the largest part of this extension, and is loaded with the first log. */
const LogView = React.lazy(async () => ({ default: (await import('../log/view')).LogView }));

export interface IDetailProps {
  model: DetailModel;
  api: Api;
  commands: CommandRegistry;
  restyled?: ISignal<unknown, unknown>;
  screenReaderMode: boolean;
  trans: TranslationBundle;
}

export function DetailView(props: IDetailProps): React.JSX.Element {
  const { model, api, commands, trans } = props;
  useSignal(model.changed, true);
  const { job, detail } = model;
  const now = useNow(model.shown && !!job && !isOver(job.state));
  if (!job) {
    return (
      <div className="jp-KonduktorDetail">
        {model.error || model.gone ? (
          <Trouble model={model} trans={trans} />
        ) : (
          <Loading trans={trans} />
        )}
      </div>
    );
  }
  const tabs: ITab<Tab>[] = [
    {
      id: 'overview',
      label: trans.__('Overview'),
      content: <Overview job={job} detail={detail} now={now} trans={trans} />
    },
    {
      id: 'log',
      label: trans.__('Log'),
      content: (
        <React.Suspense fallback={<Loading trans={trans} />}>
          <LogView
            api={api}
            id={model.id}
            node={model.node}
            attempt={model.attempt}
            nodes={job.asked.nodes}
            attempts={job.attempt + 1}
            choose={(node, attempt) => model.openLog(node, attempt)}
            shown={model.shown && model.tab === 'log'}
            restyled={props.restyled}
            screenReaderMode={props.screenReaderMode}
            trans={trans}
          />
        </React.Suspense>
      )
    },
    {
      id: 'result',
      label: trans.__('Result'),
      content: <Result api={api} job={job} shown={model.tab === 'result'} trans={trans} />
    }
  ];
  return (
    <div className="jp-KonduktorDetail">
      <header className="jp-KonduktorDetail-header">
        <h2 className="jp-KonduktorDetail-name">{job.name}</h2>
        <span className="jp-KonduktorDetail-state" role="status">
          <Glyph state={job.state} />
          {standing(trans, job)}
        </span>
        <span className="jp-KonduktorDetail-elapsed">{elapsed(trans, job, now)}</span>
        {!model.gone && <Actions job={job} detail={detail} commands={commands} trans={trans} />}
      </header>
      <Trouble model={model} trans={trans} />
      <Tabs
        name={`jp-konduktor-${model.id.replace(/\W/g, '-')}`}
        label={trans.__('About %1', job.name)}
        tabs={tabs}
        current={model.tab}
        choose={tab => {
          model.tab = tab;
        }}
      />
    </div>
  );
}

function Loading({ trans }: { trans: TranslationBundle }): React.JSX.Element {
  return <p className="jp-KonduktorDetail-empty">{trans.__('Loading…')}</p>;
}

/** One line where something is wrong. */
function Trouble({
  model,
  trans
}: {
  model: DetailModel;
  trans: TranslationBundle;
}): React.JSX.Element | null {
  if (model.gone) {
    return (
      <p className="jp-Konduktor-notice" role="alert">
        {model.detail
          ? trans.__('This job is there no more. What was known of it is shown.')
          : trans.__('There is no job %1 here.', model.id)}
      </p>
    );
  }
  return model.error ? (
    <p className="jp-Konduktor-notice" data-kind="error" role="alert">
      {model.error} <button onClick={() => void model.refresh()}>{trans.__('Retry')}</button>
    </p>
  ) : null;
}

function Actions({
  job,
  detail,
  commands,
  trans
}: {
  job: IJobRow;
  detail: IJobDetail | null;
  commands: CommandRegistry;
  trans: TranslationBundle;
}): React.JSX.Element {
  const can = (action: string) => !!detail?.actions.includes(action) && !job.cancelling;
  const actions: [string, string, boolean][] = [
    [CommandIDs.openNotebook, trans.__('Open notebook'), job.notebook !== ''],
    [CommandIDs.insertAttachCell, trans.__('Insert attach cell'), !!detail?.attach],
    [CommandIDs.copyAttachCode, trans.__('Copy attach code'), !!detail?.attach],
    [CommandIDs.resume, trans.__('Resume'), can('resume')],
    [CommandIDs.stop, trans.__('Stop'), can('stop')],
    [CommandIDs.cancel, trans.__('Cancel…'), can('cancel')]
  ];
  const args = { id: job.id };
  return (
    <span className="jp-KonduktorDetail-actions">
      {actions
        .filter(([id, , wanted]) => wanted && commands.hasCommand(id))
        .map(([id, label]) => (
          <button
            key={id}
            type="button"
            className="jp-KonduktorDetail-action"
            title={commands.caption(id, args)}
            disabled={!commands.isEnabled(id, args)}
            onClick={() => void commands.execute(id, args)}
          >
            {label}
          </button>
        ))}
    </span>
  );
}

function Overview({
  job,
  detail,
  now,
  trans
}: {
  job: IJobRow;
  detail: IJobDetail | null;
  now: number;
  trans: TranslationBundle;
}): React.JSX.Element {
  const history = detail?.history ?? [];
  return (
    <div className="jp-KonduktorDetail-overview">
      <Why job={job} trans={trans} />
      <Timeline history={history} now={now} trans={trans} />
      {detail && (
        <>
          <h3>{trans.__('What it asked for')}</h3>
          <dl className="jp-KonduktorDetail-facts">
            {detail.facts.map(([label, value]) => (
              <React.Fragment key={label}>
                <dt>{label}</dt>
                <dd>{value}</dd>
              </React.Fragment>
            ))}
          </dl>
          <h3>{trans.__('What happened')}</h3>
          <History history={history} now={now} trans={trans} />
        </>
      )}
    </div>
  );
}

/** Why the job stands where it stands. */
function Why({ job, trans }: { job: IJobRow; trans: TranslationBundle }): React.JSX.Element | null {
  const ahead =
    job.position === null
      ? ''
      : job.position === 0
        ? trans.__('It is the first in %1.', job.queue)
        : trans._n(
            '%1 job is ahead of it in %2.',
            '%1 jobs are ahead of it in %2.',
            job.position,
            job.queue
          );
  if (!job.message && !ahead) {
    return null;
  }
  return (
    <div className="jp-KonduktorDetail-callout" data-state={job.state} data-stuck={job.stuck}>
      {job.state === 'Queued' && <h3>{trans.__('Why it waits')}</h3>}
      <p>
        {job.reason && <span className="jp-KonduktorDetail-reason">{job.reason}</span>}
        {[job.message, ahead].filter(Boolean).join(' ')}
      </p>
    </div>
  );
}

/** How long it waits or runs, or how long it took. */
function elapsed(trans: TranslationBundle, job: IJobRow, now: number): string {
  if (!isOver(job.state)) {
    const from = job.state === 'Running' ? (job.started ?? job.since) : job.since;
    return trans.__('for %1', span(trans, now - from));
  }
  const end = job.finished ?? job.since;
  return job.started === null
    ? trans.__('never started')
    : trans.__('ran %1', span(trans, end - job.started));
}
