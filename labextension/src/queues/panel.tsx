/** The queues: what each may use, what is used of it, and how many jobs run and wait. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { Poll } from '@lumino/polling';
import * as React from 'react';

import type { Api } from '../api';
import type { IQueue, IQueues } from '../tokens';
import { barOfJobs, barsOf, type IBar } from './use';

const EVERY_MS = 10_000;

export interface IQueuesPanelProps {
  api: Pick<Api, 'queues'>;
  /** Whether anyone can see it: only then the server is asked. */
  shown: boolean;
  /** Whether the server can be reached, as far as JupyterLab knows. */
  connected: () => boolean;
  trans: TranslationBundle;
}

export function QueuesPanel(props: IQueuesPanelProps): React.JSX.Element {
  const { api, shown, connected, trans } = props;
  const { answer, error, retry } = useQueues(api, shown, connected);
  const errors = [...(error ? [error] : []), ...(answer?.errors ?? [])];
  const several = new Set(answer?.queues.map(queue => queue.backend)).size > 1;
  return (
    <div
      className="jp-Konduktor-queues"
      role="region"
      aria-label={trans.__('Queues')}
      // It scrolls, and has nothing else in it that the keyboard could reach.
      tabIndex={0}
    >
      <div role="status" className="jp-Konduktor-notices">
        {errors.map((line, index) => (
          <div key={index} className="jp-Konduktor-notice" data-kind="error">
            <span>{line}</span>
            <button type="button" onClick={retry}>
              {trans.__('Retry')}
            </button>
          </div>
        ))}
      </div>
      {answer?.queues.map(queue => (
        <Queue
          key={`${queue.backend}/${queue.name}`}
          queue={queue}
          place={several ? queue.backend : ''}
          trans={trans}
        />
      ))}
      {answer?.queues.length === 0 && errors.length === 0 && (
        <p className="jp-Konduktor-nothing">{trans.__('There are no queues.')}</p>
      )}
    </div>
  );
}

interface IQueueProps {
  queue: IQueue;
  place: string;
  trans: TranslationBundle;
}

function Queue({ queue, place, trans }: IQueueProps): React.JSX.Element {
  const waiting = barOfJobs(trans, queue);
  return (
    <section className="jp-Konduktor-queue" aria-label={queue.name}>
      <header>
        <span className="jp-Konduktor-name" title={queue.name}>
          {queue.name}
        </span>
        {place && <span className="jp-Konduktor-place">{place}</span>}
      </header>
      <p>{trans.__('%1 running · %2 queued', queue.running, queue.pending)}</p>
      {waiting && <Bar bar={waiting} flavor="" />}
      {queue.message && <p className="jp-Konduktor-reason">{queue.message}</p>}
      {Object.entries(queue.flavors).map(([flavor, resources]) => (
        <React.Fragment key={flavor}>
          {flavor && <div className="jp-Konduktor-flavor">{flavor}</div>}
          {barsOf(trans, resources).map(bar => (
            <Bar key={bar.resource} bar={bar} flavor={flavor} />
          ))}
        </React.Fragment>
      ))}
    </section>
  );
}

function Bar({ bar, flavor }: { bar: IBar; flavor: string }): React.JSX.Element {
  const { label, text, share } = bar;
  return (
    <div className="jp-Konduktor-use">
      <span className="jp-Konduktor-useLabel" title={label}>
        {label}
      </span>
      {share === null ? (
        <span />
      ) : (
        <div
          role="meter"
          className="jp-Konduktor-bar"
          aria-label={flavor ? `${label}, ${flavor}` : label}
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(100 * share)}
          aria-valuetext={text}
          data-full={share >= 1 || undefined}
        >
          <div style={{ width: `${100 * share}%` }} />
        </div>
      )}
      <span className="jp-Konduktor-time">{text}</span>
    </div>
  );
}

/** The last answer, and why there is none newer. */
function useQueues(api: Pick<Api, 'queues'>, shown: boolean, connected: () => boolean) {
  const [answer, setAnswer] = React.useState<IQueues | null>(null);
  const [error, setError] = React.useState('');
  const [poll, setPoll] = React.useState<Poll | null>(null);
  React.useEffect(() => {
    if (!shown) {
      return undefined;
    }
    const asking = new Poll({
      name: 'jupyter-konduktor:queues',
      factory: async () => {
        try {
          const queues = await api.queues();
          if (!asking.isDisposed) {
            setAnswer(queues);
            setError('');
          }
        } catch (failure) {
          if (!asking.isDisposed) {
            setError(failure instanceof Error ? failure.message : String(failure));
          }
          throw failure;
        }
      },
      frequency: { interval: EVERY_MS, backoff: 2, max: 60_000 },
      standby: () => !connected() || 'when-hidden'
    });
    setPoll(asking);
    return () => asking.dispose();
  }, [api, shown, connected]);
  return { answer, error, retry: () => void poll?.refresh() };
}
