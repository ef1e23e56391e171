/** The jobs, with what narrows them down and what is wrong. */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { CommandIDs, type IJobsModel } from '../tokens';
import { Announcer } from './announcer';
import { Empty } from './empty';
import { NO_FILTER, passing } from './filter';
import { Filters } from './filters';
import { useSignal } from './hooks';
import { JobList } from './list';
import { Notices } from './notices';

export interface IJobsPanelProps {
  model: IJobsModel;
  commands: CommandRegistry;
  /** Whether anyone can see it: only then it follows. */
  shown: boolean;
  openMenu: (id: string, x: number, y: number) => void;
  trans: TranslationBundle;
}

export function JobsPanel(props: IJobsPanelProps): React.JSX.Element {
  const { model, commands, shown, openMenu, trans } = props;
  useSignal(model.changed, shown);
  const [filter, setFilter] = React.useState(NO_FILTER);
  const { jobs: known, allUsers } = model;
  // After a switch to one's own jobs the others go at once, not with the server's answer.
  const jobs = React.useMemo(
    () => (allUsers ? known : known.filter(job => job.mine)),
    [known, allUsers]
  );
  const found = React.useMemo(() => passing(jobs, filter), [jobs, filter]);
  const run = React.useCallback(
    (command: string, id: string) => {
      if (commands.hasCommand(command) && commands.isEnabled(command, { id })) {
        void commands.execute(command, { id });
      }
    },
    [commands]
  );

  return (
    <div className="jp-Konduktor-jobs">
      <Announcer model={model} trans={trans} />
      <Filters
        jobs={jobs}
        filter={filter}
        setFilter={setFilter}
        allUsers={allUsers}
        setAllUsers={all => {
          model.allUsers = all;
        }}
        trans={trans}
      />
      <Notices
        error={model.error}
        backends={model.backends}
        retry={() => void model.refresh()}
        trans={trans}
      />
      {jobs.length === 0 ? (
        model.ready && (
          <Empty
            runCell={
              commands.hasCommand(CommandIDs.runCell)
                ? () => void commands.execute(CommandIDs.runCell)
                : null
            }
            trans={trans}
          />
        )
      ) : found.length === 0 ? (
        <div className="jp-Konduktor-nothing">
          <p>{trans.__('No job matches.')}</p>
          <button type="button" className="jp-mod-styled" onClick={() => setFilter(NO_FILTER)}>
            {trans.__('Show all')}
          </button>
        </div>
      ) : (
        <JobList jobs={found} shown={shown} trans={trans} run={run} openMenu={openMenu} />
      )}
    </div>
  );
}
