/** The pieces that come to a log, whatever happens to the connection on the way. */
import type { Api, ILogPlace } from '../api';
import type { ILogPiece } from '../tokens';

/** Bytes asked for at once. */
const LIMIT = 1 << 20;
/** Milliseconds between questions where streaming does not work. */
const POLL = 1000;
/** Milliseconds of silence after which the log is asked whether there is more than the stream says, at first and at most. */
const PATIENCE = [5000, 60_000];
/** Milliseconds that a stream has to bring what the log was found to have. */
const GRACE = 1000;
/** Milliseconds before the first and at most before a later attempt to connect again. */
const BACKOFF = [500, 10_000];

export class LogStream {
  constructor(
    private readonly _api: Pick<Api, 'log' | 'follow'>,
    private readonly _id: string,
    private readonly _place: ILogPlace
  ) {}

  /** Pieces from `offset` until the log ends; `trouble` hears why none come. */
  async *pieces(
    offset: number,
    signal: AbortSignal,
    trouble: (message: string) => void
  ): AsyncGenerator<ILogPiece> {
    for (let failures = 0; !signal.aborted; failures++) {
      try {
        const source = this._heldBack
          ? this._polled(offset, signal)
          : this._streamed(offset, signal);
        for await (const piece of source) {
          failures = 0;
          offset = Math.max(offset, piece.offset);
          yield piece;
          if (piece.ended) {
            return;
          }
        }
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        trouble(error instanceof Error ? error.message : String(error));
      }
      await sleep(Math.min(BACKOFF[0] * 2 ** failures, BACKOFF[1]), signal);
    }
  }

  private async *_streamed(offset: number, signal: AbortSignal): AsyncGenerator<ILogPiece> {
    const connection = new AbortController();
    const close = () => connection.abort();
    signal.addEventListener('abort', close);
    const pieces = this._api.follow(this._id, this._place, offset, connection.signal);
    try {
      let next = asked(pieces);
      for (let patience = PATIENCE[0]; ;) {
        const got = await within(next, patience, signal);
        if (signal.aborted) {
          return;
        }
        if (got === undefined) {
          const piece = await this._api.log(this._id, this._place, offset, LIMIT);
          if (piece.offset > offset && (await within(next, GRACE, signal)) === undefined) {
            // something on the way (a proxy) keeps the stream to itself
            this._heldBack = true;
            yield piece;
            return;
          }
          patience = Math.min(patience * 2, PATIENCE[1]);
          continue;
        }
        if (got.done) {
          return;
        }
        offset = got.value.offset;
        yield got.value;
        next = asked(pieces);
      }
    } finally {
      signal.removeEventListener('abort', close);
      close();
    }
  }

  private async *_polled(offset: number, signal: AbortSignal): AsyncGenerator<ILogPiece> {
    while (!signal.aborted) {
      const piece = await this._api.log(this._id, this._place, offset, LIMIT);
      offset = Math.max(offset, piece.offset);
      yield piece;
      if (piece.size - piece.start <= LIMIT) {
        // that was all, but for a line that is not finished
        await sleep(POLL, signal);
      }
    }
  }

  private _heldBack = false;
}

/** The next piece; where no one waits for it any more, its failure is no one's either. */
function asked(pieces: AsyncGenerator<ILogPiece>): Promise<IteratorResult<ILogPiece>> {
  const next = pieces.next();
  next.catch(() => undefined);
  return next;
}

/** Wait, though not longer than until the signal. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end);
    if (signal.aborted) {
      end();
    }
  });
}

/** What a promise brings, or an error as soon as no one wants it any more. */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(new DOMException('Aborted', 'AbortError'));
    signal.addEventListener('abort', end);
    if (signal.aborted) {
      end();
    }
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
  });
}

/** What a promise brings within so many milliseconds, else undefined. */
async function within<T>(
  promise: Promise<T>,
  ms: number,
  signal: AbortSignal
): Promise<T | undefined> {
  const timer = new AbortController();
  const end = () => timer.abort();
  signal.addEventListener('abort', end);
  try {
    return await Promise.race([promise, sleep(ms, timer.signal).then(() => undefined)]);
  } finally {
    signal.removeEventListener('abort', end);
    end();
  }
}
