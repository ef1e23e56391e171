/** A state as a shape, so that it can be told without its colour. */
import * as React from 'react';

import type { JobState } from '../tokens';

const RING = <circle cx="8" cy="8" r="6.25" fill="none" strokeWidth="1.5" />;
const DISC = <circle cx="8" cy="8" r="7" stroke="none" />;

const SHAPES: Record<JobState, React.ReactNode> = {
  Queued: (
    <>
      {RING}
      <path d="M8 4.5V8l2.5 1.5" fill="none" strokeWidth="1.5" />
    </>
  ),
  Starting: <circle cx="8" cy="8" r="6.25" fill="none" strokeWidth="1.5" strokeDasharray="3 2.6" />,
  Running: (
    <>
      {DISC}
      <path className="jp-Konduktor-glyphMark" d="M6.3 4.8v6.4L11.4 8z" stroke="none" />
    </>
  ),
  Stopped: (
    <>
      {RING}
      <path d="M6.3 5.5v5M9.7 5.5v5" fill="none" strokeWidth="1.7" />
    </>
  ),
  Succeeded: (
    <>
      {DISC}
      <path
        className="jp-Konduktor-glyphMark jp-mod-line"
        d="M4.8 8.3l2.2 2.2 4.2-4.6"
        fill="none"
        strokeWidth="1.6"
      />
    </>
  ),
  Failed: (
    <>
      {DISC}
      <path
        className="jp-Konduktor-glyphMark jp-mod-line"
        d="M5.4 5.4l5.2 5.2M10.6 5.4l-5.2 5.2"
        fill="none"
        strokeWidth="1.6"
      />
    </>
  ),
  Cancelled: (
    <>
      {RING}
      <path d="M3.8 12.2l8.4-8.4" fill="none" strokeWidth="1.5" />
    </>
  )
};

/** Hidden from screen readers: the word of the state stands beside it. */
export function Glyph({ state }: { state: JobState }): React.JSX.Element {
  return (
    <svg className="jp-Konduktor-glyph" data-state={state} viewBox="0 0 16 16" aria-hidden="true">
      {SHAPES[state]}
    </svg>
  );
}

export type ActionName = 'log' | 'stop' | 'resume' | 'cancel' | 'more';

/** Paths of our own: an icon of JupyterLab is parsed anew wherever it is drawn, which makes scrolling slow. */
const ACTIONS: Record<ActionName, string> = {
  log: 'M2 3h12v1.5H2zM2 6.2h9v1.5H2zM2 9.4h12v1.5H2zM2 12.6h7v1.5H2z',
  stop: 'M4 4h8v8H4z',
  resume: 'M5 3.5v9l7-4.5z',
  cancel: 'M4.1 3L3 4.1 6.9 8 3 11.9 4.1 13 8 9.1 11.9 13 13 11.9 9.1 8 13 4.1 11.9 3 8 6.9z',
  more: 'M2 7h2.5v2.5H2zM6.8 7h2.5v2.5H6.8zM11.6 7h2.5v2.5h-2.5z'
};

export function ActionIcon({ name }: { name: ActionName }): React.JSX.Element {
  return (
    <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
      <path d={ACTIONS[name]} />
    </svg>
  );
}
