/** The states of a job over time: a picture with a line for each attempt, and the table it is drawn from. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { Glyph } from '../sidebar/glyph';
import type { IChange, JobState } from '../tokens';
import { clock, isOver, span, stateWord } from '../words';

export interface ISpan {
  state: JobState;
  attempt: number;
  from: number;
  to: number;
}

/** How long each change lasted; the last one until now, or no time at all where the job is over. */
export function spans(history: readonly IChange[], now: number): ISpan[] {
  return history.map(({ time, state, attempt }, index) => {
    const next = history[index + 1]?.time ?? (isOver(state) ? time : now);
    return { state, attempt, from: time, to: Math.max(time, next) };
  });
}

export function Timeline({
  history,
  now,
  trans
}: {
  history: readonly IChange[];
  now: number;
  trans: TranslationBundle;
}): React.JSX.Element | null {
  const all = spans(history, now);
  if (all.length === 0) {
    return null;
  }
  const from = all[0].from;
  const to = Math.max(all[all.length - 1].to, from + 1);
  const percent = (time: number) => (100 * (time - from)) / (to - from);
  const attempts = [...new Set(all.map(({ attempt }) => attempt))];
  const told = all.map(({ state, from, to }) =>
    isOver(state)
      ? stateWord(trans, state)
      : trans.__('%1 for %2', stateWord(trans, state), span(trans, to - from))
  );
  return (
    <div className="jp-KonduktorDetail-timeline">
      <div role="img" aria-label={told.join(', ')}>
        {attempts.map(attempt => (
          <div key={attempt} className="jp-KonduktorDetail-lane">
            {attempts.length > 1 && (
              <span className="jp-KonduktorDetail-laneName">
                {trans.__('Attempt %1', attempt + 1)}
              </span>
            )}
            <span className="jp-KonduktorDetail-track">
              {all.map((part, index) =>
                part.attempt === attempt ? (
                  <span
                    key={index}
                    className="jp-KonduktorDetail-span"
                    data-state={part.state}
                    title={told[index]}
                    style={{
                      left: `${percent(part.from)}%`,
                      width: `${percent(part.to) - percent(part.from)}%`
                    }}
                  />
                ) : null
              )}
            </span>
          </div>
        ))}
      </div>
      <div className="jp-KonduktorDetail-axis" aria-hidden="true">
        <span>{clock(from)}</span>
        <span>{span(trans, to - from)}</span>
        <span>{isOver(all[all.length - 1].state) ? clock(to) : trans.__('now')}</span>
      </div>
    </div>
  );
}

export function History({
  history,
  now,
  trans
}: {
  history: readonly IChange[];
  now: number;
  trans: TranslationBundle;
}): React.JSX.Element {
  const all = spans(history, now);
  const repeated = history.some(({ attempt }) => attempt !== history[0].attempt);
  return (
    <table className="jp-KonduktorDetail-history">
      <thead>
        <tr>
          <th scope="col">{trans.__('Time')}</th>
          {repeated && <th scope="col">{trans.__('Attempt')}</th>}
          <th scope="col">{trans.__('State')}</th>
          <th scope="col">{trans.__('For')}</th>
          <th scope="col">{trans.__('Why')}</th>
        </tr>
      </thead>
      <tbody>
        {history.map(({ time, state, attempt, reason, message }, index) => (
          <tr key={index}>
            <td>{clock(time)}</td>
            {repeated && <td>{attempt + 1}</td>}
            <td>
              <span className="jp-KonduktorDetail-state">
                <Glyph state={state} />
                {stateWord(trans, state)}
              </span>
            </td>
            <td>{isOver(state) ? '' : span(trans, all[index].to - all[index].from)}</td>
            <td className="jp-KonduktorDetail-why">
              {reason && <span className="jp-KonduktorDetail-reason">{reason}</span>}
              {message}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
