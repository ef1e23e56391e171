/** The lines of a log that a search has found. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { LogSearch } from './search';

interface IProps {
  search: LogSearch;
  go: (index: number) => void;
  retry: () => void;
  trans: TranslationBundle;
}

export function Matches({ search, go, retry, trans }: IProps): React.JSX.Element | null {
  const current = React.useRef<HTMLButtonElement>(null);
  React.useEffect(() => {
    current.current?.scrollIntoView?.({ block: 'nearest' });
  }, [search.current]);
  if (search.error) {
    return (
      <div className="jp-Konduktor-notice" data-kind="error" role="alert">
        <span>{search.error}</span>
        <button type="button" onClick={retry}>
          {trans.__('Retry')}
        </button>
      </div>
    );
  }
  if (search.found.length === 0) {
    return null;
  }
  return (
    <ol className="jp-KonduktorLog-matches" aria-label={trans.__('Lines found')}>
      {search.found.map(({ offset, line, text }, index) => (
        <li key={offset}>
          <button
            ref={index === search.current ? current : undefined}
            type="button"
            aria-current={index === search.current}
            onClick={() => go(index)}
          >
            <span className="jp-KonduktorLog-line">{line.toLocaleString()}</span>
            <span className="jp-KonduktorLog-text">
              <Marked text={text} part={search.text} />
            </span>
          </button>
        </li>
      ))}
    </ol>
  );
}

/** A text with the first occurrence of a part of it marked. */
function Marked({ text, part }: { text: string; part: string }): React.JSX.Element {
  const at = text.toLowerCase().indexOf(part.toLowerCase());
  if (at < 0) {
    return <>{text}</>;
  }
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + part.length)}</mark>
      {text.slice(at + part.length)}
    </>
  );
}
