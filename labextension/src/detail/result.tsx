/** What a job left, as text. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Api } from '../api';
import type { IJobRow, IResult } from '../tokens';
import { isOver } from '../words';
import { Ansi } from './ansi';

interface IProps {
  api: Pick<Api, 'result'>;
  job: IJobRow;
  shown: boolean;
  trans: TranslationBundle;
}

export function Result({ api, job, shown, trans }: IProps): React.JSX.Element {
  const [result, setResult] = React.useState<IResult | null>(null);
  const [error, setError] = React.useState('');
  const [turn, again] = React.useReducer((count: number) => count + 1, 0);
  const over = isOver(job.state);
  React.useEffect(() => {
    if (!over || !shown || result) {
      return undefined;
    }
    let wanted = true;
    setError('');
    api.result(job.id).then(
      answer => wanted && setResult(answer),
      reason => wanted && setError(reason instanceof Error ? reason.message : String(reason))
    );
    return () => {
      wanted = false;
    };
  }, [api, job.id, over, shown, turn]);

  if (!over) {
    return (
      <p className="jp-KonduktorDetail-empty">{trans.__('There will be one when it ends.')}</p>
    );
  }
  if (error) {
    return (
      <p className="jp-Konduktor-notice" data-kind="error" role="alert">
        {error} <button onClick={again}>{trans.__('Retry')}</button>
      </p>
    );
  }
  if (!result) {
    return <p className="jp-KonduktorDetail-empty">{trans.__('Loading…')}</p>;
  }
  const text = result.text || trans.__('It left nothing.');
  if (result.kind === 'json' || result.kind === 'error') {
    return (
      <div className="jp-RenderedText jp-KonduktorDetail-result" data-kind={result.kind}>
        <pre>
          <Ansi text={text} />
        </pre>
      </div>
    );
  }
  return <p className="jp-KonduktorDetail-empty">{text}</p>;
}
