/** One job in the list. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { canCancel, canResume, canStop } from '../commands';
import { CommandIDs, type IJobRow } from '../tokens';
import { standing } from '../words';
import { ActionIcon, Glyph, type ActionName } from './glyph';

/** Heights in pixels, as in the style sheet: two lines, and a third for the reason. */
const HEIGHT = 42;
const HEIGHT_WITH_REASON = 59;

/** The sentence that a row shows; that a job succeeded needs none. */
export function reasonOf(job: IJobRow): string {
  return job.state === 'Succeeded' ? '' : job.message;
}

export function heightOf(job: IJobRow): number {
  return reasonOf(job) ? HEIGHT_WITH_REASON : HEIGHT;
}

/** The second line: state, place in the queue, what it asked for. */
export function factsOf(trans: TranslationBundle, job: IJobRow): string {
  const facts = [standing(trans, job)];
  if (job.state === 'Queued' && job.position !== null) {
    facts.push(
      job.position === 0
        ? trans.__('next in line')
        : trans._n('%1 job ahead', '%1 jobs ahead', job.position)
    );
  }
  if (job.items) {
    facts.push(trans.__('%1 of %2 items', job.items[1], job.items[0]));
  }
  if (job.attempt > 0) {
    facts.push(trans.__('attempt %1', job.attempt + 1));
  }
  facts.push(job.asked.text, job.queue, job.mine ? '' : job.user);
  return facts.filter(Boolean).join(' · ');
}

export interface IRowProps {
  job: IJobRow;
  /** Its place among the rows, from 0. */
  index: number;
  top: number;
  /** How long it runs or waits, or since when it is over. */
  time: string;
  /** Whether the Tab key comes here. */
  current: boolean;
  trans: TranslationBundle;
  run: (command: string, id: string) => void;
  openMenu: (id: string, x: number, y: number) => void;
}

/** Drawn again only when something of it changes. */
export const Row = React.memo(function Row(props: IRowProps): React.JSX.Element {
  const { job, trans, run, openMenu } = props;
  const reason = reasonOf(job);
  const facts = factsOf(trans, job);
  const action = (label: string, icon: ActionName, command: string) => (
    <Action label={label} icon={icon} onClick={() => run(command, job.id)} />
  );
  return (
    <div
      role="row"
      className="jp-Konduktor-row"
      data-job={job.id}
      data-state={job.state}
      aria-rowindex={props.index + 1}
      aria-selected={props.current}
      tabIndex={props.current ? 0 : -1}
      style={{ top: props.top, height: heightOf(job) }}
      onDoubleClick={() => run(CommandIDs.openJob, job.id)}
      onContextMenu={event => {
        event.preventDefault();
        event.stopPropagation();
        openMenu(job.id, event.clientX, event.clientY);
      }}
    >
      <div role="gridcell" className="jp-Konduktor-rowMain">
        <Glyph state={job.state} />
        <span className="jp-Konduktor-name" title={job.name}>
          {job.name}
        </span>
        <span className="jp-Konduktor-time">{props.time}</span>
        <span className="jp-Konduktor-facts" title={facts}>
          {facts}
        </span>
        {reason && (
          <span className="jp-Konduktor-reason" data-stuck={job.stuck || undefined} title={reason}>
            {reason}
          </span>
        )}
      </div>
      <div
        role="gridcell"
        className="jp-Konduktor-rowActions"
        onDoubleClick={event => event.stopPropagation()}
      >
        {action(trans.__('Log'), 'log', CommandIDs.openLog)}
        {canStop(job) && action(trans.__('Stop'), 'stop', CommandIDs.stop)}
        {canResume(job) && action(trans.__('Resume'), 'resume', CommandIDs.resume)}
        {canCancel(job) && action(trans.__('Cancel'), 'cancel', CommandIDs.cancel)}
        <Action
          label={trans.__('More')}
          icon="more"
          onClick={event => {
            const box = event.currentTarget.getBoundingClientRect();
            openMenu(job.id, box.left, box.bottom);
          }}
        />
      </div>
    </div>
  );
});

interface IActionProps {
  label: string;
  icon: ActionName;
  onClick: (event: React.MouseEvent<HTMLButtonElement>) => void;
}

/** A button that arrow keys reach, so that Tab passes from the list in one step. */
function Action({ label, icon, onClick }: IActionProps): React.JSX.Element {
  return (
    <button type="button" tabIndex={-1} aria-label={label} title={label} onClick={onClick}>
      <ActionIcon name={icon} />
    </button>
  );
}
