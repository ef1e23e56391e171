/** Tabs by the pattern of ARIA: one stop of the Tab key, arrows between them. */
import * as React from 'react';

export interface ITab<Id extends string> {
  id: Id;
  label: string;
  content: React.ReactNode;
}

interface IProps<Id extends string> {
  /** Distinguishes these tabs from all others of the page. */
  name: string;
  label: string;
  tabs: readonly ITab<Id>[];
  current: Id;
  choose: (id: Id) => void;
}

export function Tabs<Id extends string>(props: IProps<Id>): React.JSX.Element {
  const { name, label, tabs, current, choose } = props;
  const list = React.useRef<HTMLDivElement>(null);
  const opened = React.useRef(new Set<Id>());
  opened.current.add(current);

  const onKeyDown = (event: React.KeyboardEvent) => {
    const at = tabs.findIndex(({ id }) => id === current);
    const next = {
      ArrowLeft: (at - 1 + tabs.length) % tabs.length,
      ArrowRight: (at + 1) % tabs.length,
      Home: 0,
      End: tabs.length - 1
    }[event.key];
    if (next !== undefined) {
      event.preventDefault();
      choose(tabs[next].id);
      list.current!.querySelectorAll<HTMLElement>('[role="tab"]')[next].focus();
    }
  };

  return (
    <>
      <div
        ref={list}
        className="jp-KonduktorDetail-tabs"
        role="tablist"
        aria-label={label}
        onKeyDown={onKeyDown}
      >
        {tabs.map(({ id, label }) => (
          <button
            key={id}
            type="button"
            role="tab"
            id={`${name}-tab-${id}`}
            aria-controls={`${name}-panel-${id}`}
            aria-selected={id === current}
            tabIndex={id === current ? 0 : -1}
            onClick={() => choose(id)}
          >
            {label}
          </button>
        ))}
      </div>
      {tabs.map(({ id, content }) => (
        <div
          key={id}
          className="jp-KonduktorDetail-panel"
          role="tabpanel"
          id={`${name}-panel-${id}`}
          aria-labelledby={`${name}-tab-${id}`}
          tabIndex={0}
          hidden={id !== current}
        >
          {/* What was opened stays, with the place it was scrolled to. */}
          {opened.current.has(id) && content}
        </div>
      ))}
    </>
  );
}
