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
  const unseen = backends.filter(backend => backend.unknown_since !== null);
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
      {unseen.map(({ name, place, unknown_since, message }) => (
        <div key={name} className="jp-Konduktor-notice" data-kind="unknown" title={place}>
          <span>{trans.__('%1: unknown since %2: %3', name, clock(unknown_since!), message)}</span>
        </div>
      ))}
    </div>
  );
}
