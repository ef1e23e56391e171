/** The list of jobs: of thousands, only those in sight are drawn. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { CommandIDs, type IJobRow } from '../tokens';
import { timeOf } from '../words';
import { useHeight, useNow } from './hooks';
import { heightOf, Row } from './rows';
import { inSight, rowAt, tops } from './windowing';

export interface IListProps {
  jobs: readonly IJobRow[];
  shown: boolean;
  trans: TranslationBundle;
  run: (command: string, id: string) => void;
  openMenu: (id: string, x: number, y: number) => void;
}

export function JobList(props: IListProps): React.JSX.Element {
  const { jobs, trans, run, openMenu } = props;
  const grid = React.useRef<HTMLDivElement>(null);
  const height = useHeight(grid);
  const now = useNow(props.shown);
  const [scrolled, setScrolled] = React.useState(0);
  const [chosen, setChosen] = React.useState('');
  const focusChosen = React.useRef(false);

  const rows = React.useMemo(() => tops(heights(jobs), jobs.length), [jobs]);
  const places = React.useMemo(() => new Map(jobs.map((job, index) => [job.id, index])), [jobs]);
  const current = places.get(chosen) ?? 0;

  useAnchor(grid, jobs, rows, places, setScrolled);

  React.useLayoutEffect(() => {
    if (focusChosen.current) {
      focusChosen.current = false;
      grid.current!.querySelector<HTMLElement>('[role=row][tabindex="0"]')?.focus({
        preventScroll: true
      });
    }
  });

  const moveTo = (index: number) => {
    const to = Math.max(0, Math.min(jobs.length - 1, index));
    const element = grid.current!;
    if (rows[to] < element.scrollTop) {
      element.scrollTop = rows[to];
    } else if (rows[to + 1] > element.scrollTop + element.clientHeight) {
      element.scrollTop = rows[to + 1] - element.clientHeight;
    }
    focusChosen.current = true;
    setScrolled(element.scrollTop);
    setChosen(jobs[to].id);
  };

  const onKeyDown = (event: React.KeyboardEvent<HTMLDivElement>) => {
    const onRow = (event.target as HTMLElement).getAttribute('role') === 'row';
    switch (event.key) {
      case 'ArrowDown':
        moveTo(current + 1);
        break;
      case 'ArrowUp':
        moveTo(current - 1);
        break;
      case 'PageDown':
        moveTo(Math.max(current + 1, rowAt(rows, rows[current] + height) - 1));
        break;
      case 'PageUp':
        moveTo(Math.min(current - 1, rowAt(rows, rows[current] - height) + 1));
        break;
      case 'Home':
        moveTo(0);
        break;
      case 'End':
        moveTo(jobs.length - 1);
        break;
      case 'ArrowRight':
      case 'ArrowLeft':
        moveWithinRow(event.target as HTMLElement, event.key === 'ArrowRight' ? 1 : -1);
        break;
      case 'Enter':
        if (!onRow) {
          return;
        }
        run(CommandIDs.openJob, jobs[current].id);
        break;
      case 'Delete':
        run(CommandIDs.cancel, jobs[current].id);
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  const [from, to] = inSight(rows, scrolled, height);
  const drawn = Array.from({ length: to - from }, (_, offset) => from + offset);
  if (jobs.length > 0 && (current < from || current >= to)) {
    // The row that has the focus stays, or the keyboard would lose its place.
    drawn.push(current);
  }

  return (
    <div
      ref={grid}
      role="grid"
      className="jp-Konduktor-list"
      aria-label={trans.__('Jobs')}
      aria-rowcount={jobs.length}
      onScroll={event => setScrolled(event.currentTarget.scrollTop)}
      onKeyDown={onKeyDown}
      onFocus={event => {
        const row = event.target.closest<HTMLElement>('[data-job]');
        setChosen(row?.dataset.job ?? '');
      }}
    >
      <div role="rowgroup" style={{ height: rows[jobs.length] }}>
        {drawn.map(index => (
          <Row
            key={jobs[index].id}
            job={jobs[index]}
            index={index}
            top={rows[index]}
            time={timeOf(trans, jobs[index], now)}
            current={index === current}
            trans={trans}
            run={run}
            openMenu={openMenu}
          />
        ))}
      </div>
    </div>
  );
}

function* heights(jobs: readonly IJobRow[]): Iterable<number> {
  for (const job of jobs) {
    yield heightOf(job);
  }
}

/** Right from a row into its buttons and along them, left back to the row. */
function moveWithinRow(target: HTMLElement, step: 1 | -1): void {
  const row = target.closest<HTMLElement>('[role=row]');
  if (row) {
    const stops = [row, ...row.querySelectorAll<HTMLElement>('button')];
    stops[Math.max(0, Math.min(stops.length - 1, stops.indexOf(target) + step))].focus();
  }
}

/** Keep what is looked at in its place when jobs come or go above it. */
function useAnchor(
  grid: React.RefObject<HTMLDivElement>,
  jobs: readonly IJobRow[],
  rows: Uint32Array,
  places: Map<string, number>,
  setScrolled: (scrolled: number) => void
): void {
  const last = React.useRef({ jobs, rows });
  React.useLayoutEffect(() => {
    const before = last.current;
    last.current = { jobs, rows };
    const element = grid.current!;
    if (before.jobs === jobs || before.jobs.length === 0 || element.scrollTop === 0) {
      return;
    }
    const seen = rowAt(before.rows, element.scrollTop);
    const place = places.get(before.jobs[seen].id);
    if (place !== undefined) {
      element.scrollTop += rows[place] - before.rows[seen];
      setScrolled(element.scrollTop);
    }
  }, [grid, jobs, rows, places, setScrolled]);
}
