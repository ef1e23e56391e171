/** Typed calls of the server's routes. */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type {
  IAbout,
  IJobDetail,
  IJobs,
  ILogMatches,
  ILogPiece,
  IQueues,
  IResult,
  ISetting
} from './tokens';

/** Where the routes are, below the server's base URL. */
const NAMESPACE = 'konduktor';

/** A call that failed, in one line that a person understands. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number
  ) {
    super(message);
  }
}

/** Node and attempt of a log; the last attempt where none is named. */
export interface ILogPlace {
  node: number;
  attempt?: number;
}

export class Api {
  constructor(readonly settings: ServerConnection.ISettings = ServerConnection.makeSettings()) {}

  about(): Promise<IAbout> {
    return this._get('about');
  }

  jobs(since?: { epoch: string; seq: number }, allUsers = false): Promise<IJobs> {
    return this._get('jobs', { ...since, ...(allUsers ? { all_users: 1 } : {}) });
  }

  job(id: string): Promise<IJobDetail> {
    return this._get(path(id));
  }

  result(id: string): Promise<IResult> {
    return this._get(`${path(id)}/result`);
  }

  /** A piece of a log; a negative offset counts from its end. */
  log(id: string, place: ILogPlace, offset: number, limit: number): Promise<ILogPiece> {
    return this._get(`${path(id)}/log`, { ...place, offset, limit });
  }

  search(id: string, place: ILogPlace, text: string): Promise<ILogMatches> {
    return this._get(`${path(id)}/log/search`, { ...place, text });
  }

  /** Lines of JSON, each an `ILogPiece`, as the log grows; ends with the log. */
  async *follow(
    id: string,
    place: ILogPlace,
    offset: number,
    signal: AbortSignal
  ): AsyncGenerator<ILogPiece> {
    const response = await this._send(`${path(id)}/log/stream`, { signal }, { ...place, offset });
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      const lines = (rest + value).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (line) {
          yield JSON.parse(line) as ILogPiece;
        }
      }
    }
  }

  /** Where the whole log can be downloaded as text. */
  downloadUrl(id: string, place: ILogPlace): string {
    return this._url(`${path(id)}/log/download`, { ...place });
  }

  /** `verb` is cancel, stop or resume. */
  async act(id: string, verb: string): Promise<void> {
    await this._send(`${path(id)}/${verb}`, { method: 'POST', body: '{}' });
  }

  queues(): Promise<IQueues> {
    return this._get('queues');
  }

  async serverSettings(): Promise<ISetting[]> {
    return (await this._get<{ settings: ISetting[] }>('settings')).settings;
  }

  private async _get<T>(route: string, query: Record<string, unknown> = {}): Promise<T> {
    const response = await this._send(route, {}, query);
    return (await response.json()) as T;
  }

  private async _send(
    route: string,
    init: RequestInit,
    query: Record<string, unknown> = {}
  ): Promise<Response> {
    let response: Response;
    try {
      response = await ServerConnection.makeRequest(
        this._url(route, query),
        { cache: 'no-store', ...init },
        this.settings
      );
    } catch (error) {
      if (init.signal?.aborted) {
        throw error;
      }
      throw new ApiError('The Jupyter server does not answer', 0);
    }
    if (!response.ok) {
      throw new ApiError(await said(response), response.status);
    }
    return response;
  }

  private _url(route: string, query: Record<string, unknown>): string {
    const given = Object.entries(query).filter(
      ([, value]) => value !== undefined && value !== null
    );
    const search = new URLSearchParams(
      given.map(([key, value]) => [key, String(value)])
    ).toString();
    return URLExt.join(this.settings.baseUrl, NAMESPACE, route) + (search ? `?${search}` : '');
  }
}

function path(id: string): string {
  return `jobs/${id.split('/').map(encodeURIComponent).join('/')}`;
}

/** What an error answer says; a 404 that is not ours is a server without our part. */
async function said(response: Response): Promise<string> {
  try {
    const body = await response.json();
    if (typeof body.message === 'string' && body.message) {
      return body.message;
    }
  } catch {
    // no JSON: not an answer of ours
  }
  return response.status === 404
    ? 'The server has no jupyter_konduktor: install it in the environment that runs JupyterLab, and restart the server'
    : `The server answered ${response.status} ${response.statusText}`;
}
