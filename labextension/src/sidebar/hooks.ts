/** What the components of the sidebar share. */
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

/** Draw again after each signal, while `shown`. */
export function useSignal(signal: ISignal<unknown, unknown>, shown: boolean): void {
  const [, draw] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    if (!shown) {
      return undefined;
    }
    // What came while nobody looked is drawn as well.
    draw();
    const slot = () => draw();
    signal.connect(slot);
    return () => {
      signal.disconnect(slot);
    };
  }, [signal, shown]);
}

/** The time in seconds, anew each second while `ticking` and while the page is to be seen. */
export function useNow(ticking: boolean): number {
  const [now, setNow] = React.useState(() => Date.now() / 1000);
  React.useEffect(() => {
    if (!ticking) {
      return undefined;
    }
    const tick = () => {
      if (document.visibilityState === 'visible') {
        setNow(Date.now() / 1000);
      }
    };
    tick();
    const timer = setInterval(tick, 1000);
    document.addEventListener('visibilitychange', tick);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', tick);
    };
  }, [ticking]);
  return now;
}

/** The height of an element, followed as it changes. */
export function useHeight(ref: React.RefObject<HTMLElement>): number {
  const [height, setHeight] = React.useState(0);
  React.useLayoutEffect(() => {
    const element = ref.current!;
    const measure = () => setHeight(element.clientHeight);
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return height;
}
