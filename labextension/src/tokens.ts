/**
 * The words that this extension and its server part share, and the tokens of the extension.
 *
 * What the server sends is described here and nowhere else; `jupyter_konduktor/server/rows.py` makes it.
 * Times are seconds since the epoch. Text from a job or a cluster is never HTML.
 */
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

/** The version of the routes that this extension speaks; the server says its own in `IAbout.api`. */
export const API = 1;

/** The domain of this extension's translations. */
export const DOMAIN = 'jupyter_konduktor';

export type JobState =
  'Queued' | 'Starting' | 'Running' | 'Stopped' | 'Succeeded' | 'Failed' | 'Cancelled';

/** What a job asked for. `gpus` counts devices of one node; `text` says all of it ("H100:8, 2 nodes"). */
export interface IAsked {
  text: string;
  gpus: number;
  gpu_kind: string;
  cpus: number | null;
  memory: number | null;
  nodes: number;
}

/** One job in a list. */
export interface IJobRow {
  /** `${backend}/${name}`: what routes and events call it. */
  id: string;
  backend: string;
  name: string;
  uid: string;
  state: JobState;
  reason: string;
  /** Why it stands there, a sentence; while Queued, why it waits. */
  message: string;
  /** Jobs ahead of it while Queued, from 0; null where it is not known. */
  position: number | null;
  queue: string;
  user: string;
  /** Submitted by the user of this server. */
  mine: boolean;
  kind: 'cell' | 'function' | 'map' | 'command';
  attempt: number;
  created: number;
  started: number | null;
  finished: number | null;
  /** When it came to its state. */
  since: number;
  asked: IAsked;
  /** Of a map: all items and those that have ended; else null. */
  items: [number, number] | null;
  exit_code: number | null;
  stuck: boolean;
  /** Someone has asked for its end through this server, and it has not ended yet. */
  cancelling: boolean;
  /** The path of the notebook that submitted it below the server's root, and the id of its cell; "" if not known. */
  notebook: string;
  cell: string;
}

/** The answer to `GET jobs`: all jobs, or those that changed since `seq`. */
export interface IJobs {
  /** Another epoch is another server: forget all and list anew. */
  epoch: string;
  seq: number;
  /** Whether `jobs` is the whole list. */
  full: boolean;
  jobs: IJobRow[];
  /** Ids of jobs that are there no more. */
  gone: string[];
  backends: IBackend[];
}

/** A place where jobs run, and whether it can be seen. */
export interface IBackend {
  name: string;
  /** Where it is: "this machine", or context and namespace. */
  place: string;
  /** Since when it cannot be seen; null while it can. */
  unknown_since: number | null;
  /** Why, in one line. */
  message: string;
}

export interface IChange {
  time: number;
  state: JobState;
  reason: string;
  message: string;
  attempt: number;
}

/** The answer to `GET jobs/BACKEND/NAME`. */
export interface IJobDetail extends IJobRow {
  history: IChange[];
  /** One line: where it stands and why, as `%konduktor` says it. */
  status: string;
  /** Label and value of what was asked for, in the order to show ("image", "priority", "command", …). */
  facts: [string, string][];
  /** What to run in a notebook to have its output and values. */
  attach: string;
  /** Which of "cancel", "stop", "resume" make sense now. */
  actions: string[];
}

/** The answer to `GET jobs/BACKEND/NAME/result`: text only, nothing is unpickled. */
export interface IResult {
  /** `none`: it has not ended or left nothing. */
  kind: 'none' | 'json' | 'pickle' | 'error';
  /** JSON, a traceback, or one line that says what it is and how to get it. */
  text: string;
  exit_code: number | null;
}

/** The answer to `GET jobs/BACKEND/NAME/log`: text of one node and attempt. Offsets count bytes of the raw log. */
export interface ILogPiece {
  /** UTF-8, with ANSI colours and cursor controls as the job wrote them; rich outputs stand as their text. */
  text: string;
  /** Where this piece begins and where the next one does. */
  start: number;
  offset: number;
  /** Size of the raw log now. */
  size: number;
  /** Nothing will follow. */
  ended: boolean;
}

/** The answer to `GET jobs/BACKEND/NAME/log/search`. */
export interface ILogMatches {
  /** Offset of the line that a match stands in, with the line, ascending; at most 1,000. */
  matches: { offset: number; line: number; text: string }[];
  /** There are more. */
  more: boolean;
}

export interface IUse {
  used: number;
  /** null: not known. */
  total: number | null;
}

/** One queue of the answer to `GET queues`. */
export interface IQueue {
  backend: string;
  name: string;
  running: number;
  pending: number;
  /** By flavor ("" where there are none), then by resource: "gpu" in devices, "cpu" in cores, "memory" in bytes. */
  flavors: Record<string, Record<string, IUse>>;
  /** Why it takes no jobs; "" if it does. */
  message: string;
}

export interface IQueues {
  queues: IQueue[];
  /** One line for each backend whose queues could not be read. */
  errors: string[];
}

/** The answer to `GET about`. */
export interface IAbout {
  version: string;
  api: number;
  /** Who the server takes its user for. */
  user: string;
}

/** One setting, of the answer to `GET settings`. */
export interface ISetting {
  key: string;
  value: string;
  source: string;
  help: string;
}

/** The list of jobs as it is known here. */
export interface IJobsModel {
  /** Newest first; a new array after each change. */
  readonly jobs: readonly IJobRow[];
  readonly backends: readonly IBackend[];
  /** One line that says why nothing new is known; "" if it is. */
  readonly error: string;
  /** Whether the first list has come. */
  readonly ready: boolean;
  /** Jobs or the error have changed. */
  readonly changed: ISignal<IJobsModel, void>;
  /** A job was seen in another state than before; not for those of the first list. */
  readonly stateChanged: ISignal<IJobsModel, { job: IJobRow; before: JobState | null }>;
  get(id: string): IJobRow | undefined;
  /** Ask the server now. */
  refresh(): Promise<void>;
  /** Also the jobs of others, from now on. */
  allUsers: boolean;
}

/** What other extensions may use: the list of jobs. */
export const IJobsModel = new Token<IJobsModel>(
  'jupyter-konduktor:IJobsModel',
  'The jobs of this server, kept up to date.'
);

/** Ids of the commands; each takes `{ id }` of a job where it is about one. */
export namespace CommandIDs {
  export const openSidebar = 'konduktor:open-sidebar';
  export const openJob = 'konduktor:open-job';
  export const openLog = 'konduktor:open-log';
  export const openQueues = 'konduktor:open-queues';
  export const refresh = 'konduktor:refresh';
  export const cancel = 'konduktor:cancel';
  export const stop = 'konduktor:stop';
  export const resume = 'konduktor:resume';
  export const copyAttachCode = 'konduktor:copy-attach-code';
  export const insertAttachCell = 'konduktor:insert-attach-cell';
  export const openNotebook = 'konduktor:open-notebook';
  export const runCell = 'konduktor:run-cell';
}
