/** Lines above the list: what is wrong, and what can be done about it. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IBackend } from '../tokens';
import { clock } from '../words';

export interface INoticesProps {
  error: string;
  backends: readonly IBackend[];
  retry: () => void;
  trans: TranslationBundle;
}

export function Notices({ error, backends, retry, trans }: INoticesProps): React.JSX.Element {
  const troubled = backends.filter(
    backend => backend.unknown_since !== null || backend.message !== ''
  );
  return (
    <div role="status" className="jp-Konduktor-notices">
      {error && (
        <div className="jp-Konduktor-notice" data-kind="error">
          <span>{error}</span>
          <button type="button" onClick={retry}>
            {trans.__('Retry')}
          </button>
        </div>
      )}
      {troubled.map(({ name, place, unknown_since, message }) => (
        <div key={name} className="jp-Konduktor-notice" data-kind="unknown" title={place}>
          <span>
            {unknown_since === null
              ? trans.__('%1: %2', name, message)
              : trans.__('%1: unknown since %2: %3', name, clock(unknown_since), message)}
          </span>
          <button type="button" onClick={retry}>
            {trans.__('Retry')}
          </button>
        </div>
      ))}
    </div>
  );
}
