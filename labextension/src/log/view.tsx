/** The log of one node and attempt of a job, with what searches, follows and saves it. */
import type { TranslationBundle } from '@jupyterlab/translation';
import {
  caretDownIcon,
  caretUpIcon,
  downloadIcon,
  LabIcon,
  searchIcon
} from '@jupyterlab/ui-components';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

import type { Api } from '../api';
import { download } from './download';
import { Matches } from './matches';
import { LogSearch } from './search';
import { type ILogState, LogSession } from './session';
import { TerminalScreen } from './terminal';

/** Lines that stand above one that is gone to. */
const ABOVE = 4;

export interface ILogViewProps {
  api: Api;
  id: string;
  node: number;
  attempt: number;
  nodes: number;
  attempts: number;
  choose: (node: number, attempt: number) => void;
  /** Whether it can be seen; nothing is asked for while not. */
  shown: boolean;
  /** The theme of the page has changed. */
  restyled?: ISignal<unknown, unknown>;
  screenReaderMode: boolean;
  trans: TranslationBundle;
}

interface IParts {
  screen: TerminalScreen;
  session: LogSession;
  search: LogSearch;
}

export function LogView(props: ILogViewProps): React.JSX.Element {
  const { api, id, node, attempt, nodes, attempts, choose, shown, trans } = props;
  const host = React.useRef<HTMLDivElement>(null);
  const field = React.useRef<HTMLInputElement>(null);
  const parts = useParts(props, host);
  const [wrap, setWrap] = React.useState(true);
  const [text, setText] = React.useState('');
  const [, draw] = React.useReducer((count: number) => count + 1, 0);

  React.useEffect(() => {
    parts?.session.changed.connect(draw);
    parts?.search.changed.connect(draw);
    return () => {
      parts?.session.changed.disconnect(draw);
      parts?.search.changed.disconnect(draw);
    };
  }, [parts]);
  React.useEffect(() => parts?.session.pause(!shown), [parts, shown]);
  React.useEffect(() => {
    if (parts) {
      parts.screen.wrap = wrap;
    }
  }, [parts, wrap]);

  const goTo = async (index: number) => {
    if (parts && index >= 0) {
      const { search, session, screen } = parts;
      search.current = index;
      await session.jump(search.found[index].offset, ABOVE);
      screen.select(search.text, search.found[index].offset);
    }
  };
  const find = async (by: 1 | -1) => {
    if (!parts) {
      return;
    }
    const { search } = parts;
    if (text === search.text && !search.error) {
      await goTo(search.step(by));
    } else if (await search.search(text)) {
      await goTo(search.near(parts.session.state.start));
    }
  };
  const leaveSearch = () => {
    setText('');
    void parts?.search.search('');
    parts?.screen.focus();
  };
  const shortcut = (event: React.KeyboardEvent) => {
    if ((event.ctrlKey || event.metaKey) && event.key === 'f') {
      event.preventDefault();
      event.stopPropagation();
      field.current!.focus();
      field.current!.select();
    }
  };

  const state = parts?.session.state;
  return (
    <div className="jp-KonduktorLog" onKeyDown={shortcut}>
      <div className="jp-KonduktorLog-bar" role="group" aria-label={trans.__('Log')}>
        <Choice
          label={trans.__('Node')}
          count={nodes}
          value={node}
          choose={value => choose(value, attempt)}
        />
        <Choice
          label={trans.__('Attempt')}
          count={attempts}
          value={attempt}
          first={1}
          choose={value => choose(node, value)}
        />
        <form
          className="jp-KonduktorLog-search"
          role="search"
          onSubmit={event => {
            event.preventDefault();
            void find(1);
          }}
        >
          <searchIcon.react tag="span" className="jp-KonduktorLog-searchIcon" />
          <input
            ref={field}
            className="jp-KonduktorLog-field"
            type="text"
            spellCheck={false}
            placeholder={trans.__('Search the whole log')}
            aria-label={trans.__('Search the whole log')}
            value={text}
            onChange={event => setText(event.target.value)}
            onKeyDown={event => {
              if (event.key === 'Escape') {
                leaveSearch();
              } else if (event.key === 'Enter' && event.shiftKey) {
                event.preventDefault();
                void find(-1);
              }
            }}
          />
          {parts && parts.search.text && (
            <>
              <span className="jp-KonduktorLog-count" role="status">
                {counted(parts.search, trans)}
              </span>
              <Icon icon={caretUpIcon} label={trans.__('Previous match')} act={() => find(-1)} />
              <Icon icon={caretDownIcon} label={trans.__('Next match')} act={() => find(1)} />
            </>
          )}
        </form>
        <span className="jp-KonduktorLog-space" />
        <Text label={trans.__('Start')} act={() => parts?.session.toStart()} />
        <Text label={trans.__('End')} act={() => parts?.session.toEnd()} />
        <Text
          label={trans.__('Follow')}
          pressed={!!state?.following && !state.ended}
          disabled={!!state?.ended}
          title={
            state?.ended ? trans.__('The log has ended') : trans.__('Show new lines as they come')
          }
          act={() => parts?.session.follow(!state?.following)}
        />
        <Text label={trans.__('Wrap')} pressed={wrap} act={() => setWrap(!wrap)} />
        <Icon
          icon={downloadIcon}
          label={trans.__('Download the whole log')}
          act={() => download(api, id, { node, attempt })}
        />
      </div>
      {parts && (
        <Matches
          search={parts.search}
          go={goTo}
          retry={() => void parts.search.search(text)}
          trans={trans}
        />
      )}
      {state && <Notice state={state} session={parts.session} trans={trans} />}
      <div className="jp-KonduktorLog-body">
        <div ref={host} className="jp-KonduktorLog-terminal" data-wrap={wrap} />
        {state && !state.loading && !state.error && state.size === 0 && (
          <div className="jp-KonduktorLog-empty">
            {state.ended
              ? trans.__('It wrote nothing.')
              : trans.__('Nothing has been written yet.')}
          </div>
        )}
        {state && !state.following && state.size > state.end && !state.loading && (
          <button
            type="button"
            className="jp-KonduktorLog-new"
            onClick={() => void parts.session.toEnd()}
          >
            {trans.__('%1 below', bytes(state.size - state.end))} ↓
          </button>
        )}
      </div>
    </div>
  );
}

/** The terminal, its session and the search, made anew for each log. */
function useParts(
  { api, id, node, attempt, restyled, screenReaderMode, trans }: ILogViewProps,
  host: React.RefObject<HTMLDivElement>
): IParts | null {
  const [parts, setParts] = React.useState<IParts | null>(null);
  React.useEffect(() => {
    const place = { node, attempt };
    const screen = new TerminalScreen(host.current!, trans.__('Log'), screenReaderMode);
    const session = new LogSession(api, id, place, screen);
    const search = new LogSearch(api, id, place);
    screen.reshaped.connect(() => void session.redraw());
    screen.moved.connect((_, where) => {
      if (where === 'top') {
        void session.older();
      } else if (where === 'bottom') {
        void session.newer();
      } else {
        void session.follow(false);
      }
    });
    const restyle = () => screen.restyle();
    restyled?.connect(restyle);
    void session.toEnd();
    setParts({ screen, session, search });
    return () => {
      restyled?.disconnect(restyle);
      session.dispose();
      screen.dispose();
    };
  }, [api, id, node, attempt, restyled, screenReaderMode, trans]);
  return parts;
}

/** One line above the log, where there is something to say. */
function Notice({
  state,
  session,
  trans
}: {
  state: ILogState;
  session: LogSession;
  trans: TranslationBundle;
}): React.JSX.Element | null {
  if (state.error) {
    return (
      <div className="jp-Konduktor-notice" data-kind="error" role="alert">
        <span>
          {state.following ? trans.__('%1 (it is tried again)', state.error) : state.error}
        </span>
        <button type="button" onClick={() => void session.retry()}>
          {trans.__('Retry')}
        </button>
      </div>
    );
  }
  return state.skipped > 0 ? (
    <div className="jp-Konduktor-notice" role="status">
      {trans.__('%1 skipped to keep up: scroll up to see them', bytes(state.skipped))}
    </div>
  ) : null;
}

/** Which of several; nothing where there is but one. */
function Choice({
  label,
  count,
  value,
  first = 0,
  choose
}: {
  label: string;
  count: number;
  value: number;
  /** What the first is called. */
  first?: number;
  choose: (value: number) => void;
}): React.JSX.Element | null {
  return count > 1 ? (
    <label className="jp-KonduktorLog-choice">
      {label}
      <select value={value} onChange={event => choose(Number(event.target.value))}>
        {Array.from({ length: count }, (_, index) => (
          <option key={index} value={index}>
            {first + index}
          </option>
        ))}
      </select>
    </label>
  ) : null;
}

function Text({
  label,
  act,
  pressed,
  disabled,
  title
}: {
  label: string;
  act: () => unknown;
  pressed?: boolean;
  disabled?: boolean;
  title?: string;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className="jp-KonduktorLog-button"
      aria-pressed={pressed}
      disabled={disabled}
      title={title}
      onClick={() => void act()}
    >
      {label}
    </button>
  );
}

function Icon({
  icon,
  label,
  act
}: {
  icon: LabIcon;
  label: string;
  act: () => unknown;
}): React.JSX.Element {
  return (
    <button
      type="button"
      className="jp-KonduktorLog-button jp-mod-icon"
      title={label}
      aria-label={label}
      onClick={() => void act()}
    >
      <icon.react tag="span" />
    </button>
  );
}

/** "3 of 17", and what is known besides. */
function counted({ busy, found, more, current, error }: LogSearch, trans: TranslationBundle) {
  if (busy) {
    return '…';
  }
  if (error) {
    return '';
  }
  if (found.length === 0) {
    return more ? trans.__('None so far') : trans.__('None');
  }
  const count = more ? `${found.length}+` : String(found.length);
  return current < 0 ? count : trans.__('%1 of %2', current + 1, count);
}

/** "512 B", "3.4 kB", "182 MB". */
function bytes(count: number): string {
  for (const [unit, size] of [
    ['GB', 1e9],
    ['MB', 1e6],
    ['kB', 1e3]
  ] as const) {
    if (count >= size) {
      return `${(count / size).toPrecision(count >= 100 * size ? 3 : 2)} ${unit}`;
    }
  }
  return `${count} B`;
}
