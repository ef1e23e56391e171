/** The head of the list: whose jobs, which states, which queue, what text. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IJobRow, JobState } from '../tokens';
import { STATES, stateWord } from '../words';
import { countStates, queuesOf, type IFilter } from './filter';
import { Glyph } from './glyph';

export interface IFiltersProps {
  jobs: readonly IJobRow[];
  filter: IFilter;
  setFilter: (filter: IFilter) => void;
  allUsers: boolean;
  setAllUsers: (all: boolean) => void;
  trans: TranslationBundle;
}

export function Filters(props: IFiltersProps): React.JSX.Element {
  const { jobs, filter, setFilter, allUsers, setAllUsers, trans } = props;
  const queues = React.useMemo(() => queuesOf(jobs), [jobs]);
  return (
    <div className="jp-Konduktor-filters">
      <div className="jp-Konduktor-filterLine">
        <div role="group" aria-label={trans.__('Whose jobs')} className="jp-Konduktor-scope">
          <button type="button" aria-pressed={!allUsers} onClick={() => setAllUsers(false)}>
            {trans.__('My jobs')}
          </button>
          <button type="button" aria-pressed={allUsers} onClick={() => setAllUsers(true)}>
            {trans.__('All jobs')}
          </button>
        </div>
        {(queues.length > 1 || filter.queue) && (
          <select
            className="jp-Konduktor-queueFilter"
            aria-label={trans.__('Queue')}
            value={filter.queue}
            onChange={event => setFilter({ ...filter, queue: event.target.value })}
          >
            <option value="">{trans.__('All queues')}</option>
            {[...new Set([...queues, filter.queue])].filter(Boolean).map(queue => (
              <option key={queue} value={queue}>
                {queue}
              </option>
            ))}
          </select>
        )}
      </div>
      {jobs.length > 0 && (
        <>
          <input
            type="search"
            className="jp-Konduktor-search"
            aria-label={trans.__('Search jobs')}
            placeholder={trans.__('Search name, queue, user, reason')}
            spellCheck={false}
            value={filter.text}
            onChange={event => setFilter({ ...filter, text: event.target.value })}
            onKeyDown={event => {
              if (event.key === 'Escape' && filter.text) {
                event.stopPropagation();
                setFilter({ ...filter, text: '' });
              }
            }}
          />
          <States {...props} />
        </>
      )}
    </div>
  );
}

/** A switch for each state that occurs. */
function States({ jobs, filter, setFilter, trans }: IFiltersProps): React.JSX.Element {
  const counts = React.useMemo(() => countStates(jobs), [jobs]);
  const toggle = (state: JobState) => {
    const states = new Set(filter.states);
    if (!states.delete(state)) {
      states.add(state);
    }
    setFilter({ ...filter, states });
  };
  return (
    <div role="group" aria-label={trans.__('States')} className="jp-Konduktor-states">
      {STATES.filter(state => counts.has(state) || filter.states.has(state)).map(state => (
        <button
          key={state}
          type="button"
          aria-pressed={filter.states.has(state)}
          aria-label={`${stateWord(trans, state)} ${counts.get(state) ?? 0}`}
          title={stateWord(trans, state)}
          onClick={() => toggle(state)}
        >
          <Glyph state={state} />
          <span className="jp-Konduktor-stateWord">{stateWord(trans, state)}</span>
          <span className="jp-Konduktor-count">{counts.get(state) ?? 0}</span>
        </button>
      ))}
    </div>
  );
}
