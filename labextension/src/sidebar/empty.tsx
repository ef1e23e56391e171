/** What stands where there are no jobs: how to make one. */
import { Clipboard } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { copyIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

const LINES = '%load_ext jupyter_konduktor';
const MAGIC = '%%konduktor --gpus H100:1';

export interface IEmptyProps {
  /** Opens the form for the selected cell; null where it is not there. */
  runCell: (() => void) | null;
  trans: TranslationBundle;
}

export function Empty({ runCell, trans }: IEmptyProps): React.JSX.Element {
  return (
    <div className="jp-Konduktor-empty">
      <h3>{trans.__('No jobs yet')}</h3>
      <p>{trans.__('Load the extension once in a notebook:')}</p>
      <Code text={LINES} trans={trans} />
      <p>{trans.__('Then put this line on top of a cell, and the cell runs as a job:')}</p>
      <Code text={MAGIC} trans={trans} />
      <p>{trans.__('Its output and variables come back here; the job goes on if you leave.')}</p>
      {runCell && (
        <button type="button" className="jp-mod-styled jp-mod-accept" onClick={runCell}>
          {trans.__('Run selected cell as a job…')}
        </button>
      )}
    </div>
  );
}

function Code({ text, trans }: { text: string; trans: TranslationBundle }): React.JSX.Element {
  const [copied, setCopied] = React.useState(false);
  const label = copied ? trans.__('Copied') : trans.__('Copy');
  return (
    <div className="jp-Konduktor-code">
      <code>{text}</code>
      <button
        type="button"
        aria-label={label}
        title={label}
        data-copied={copied || undefined}
        onClick={() => {
          Clipboard.copyToSystem(text);
          setCopied(true);
        }}
        onBlur={() => setCopied(false)}
      >
        <copyIcon.react tag="span" width="14px" height="14px" />
      </button>
    </div>
  );
}
