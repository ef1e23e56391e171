/** Tells a screen reader, when it has time, what changed. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IJobsModel } from '../tokens';
import { stateWord } from '../words';

/** Changes that come within this time are told together. */
const GATHER_MS = 1000;

export interface IAnnouncerProps {
  model: Pick<IJobsModel, 'stateChanged'>;
  trans: TranslationBundle;
}

export function Announcer({ model, trans }: IAnnouncerProps): React.JSX.Element {
  const [said, say] = React.useState('');
  React.useEffect(() => {
    let lines: string[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const slot: Parameters<typeof model.stateChanged.connect>[0] = (_, { job }) => {
      if (!job.mine) {
        return;
      }
      lines.push(trans.__('%1 is %2', job.name, stateWord(trans, job.state)));
      timer ??= setTimeout(() => {
        say(lines.length > 3 ? trans.__('%1 jobs have changed', lines.length) : lines.join('. '));
        lines = [];
        timer = undefined;
      }, GATHER_MS);
    };
    model.stateChanged.connect(slot);
    return () => {
      clearTimeout(timer);
      model.stateChanged.disconnect(slot);
    };
  }, [model, trans]);
  return (
    <div role="status" aria-live="polite" className="jp-Konduktor-announcer">
      {said}
    </div>
  );
}
