/** Says when a job of this user starts or ends. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { Notification } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';

import type { IStateChange } from './model';
import { PLUGIN_ID } from './plugin';
import { CommandIDs, DOMAIN, IJobsModel, type IJobRow } from './tokens';
import { isOver } from './words';

/** Which changes are told; `ended` are the ends only. */
export type Telling = 'none' | 'ended' | 'all';

/** Changes that come within this time are told together. */
const GATHER_MS = 1000;

/** More than these are told as one. */
const MOST = 3;

/** A job this short, in seconds, was watched to its end. */
const SHORT = 5;

/** Gathers the changes of a moment and tells them, a burst in one notification. */
export class Teller {
  telling: Telling = 'all';

  constructor(
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {}

  /** Take note of a change. */
  note({ job, before }: IStateChange): void {
    if (!this._matters(job, before)) {
      return;
    }
    this._noted.set(job.id, job);
    this._timer ??= setTimeout(() => {
      const jobs = [...this._noted.values()];
      this._noted.clear();
      this._timer = undefined;
      this._tell(jobs);
    }, GATHER_MS);
  }

  private _matters(job: IJobRow, before: IStateChange['before']): boolean {
    if (!job.mine || this.telling === 'none') {
      return false;
    }
    if (isOver(job.state)) {
      // A cancelled job ended because someone asked for it.
      const length = (job.finished ?? job.since) - job.created;
      return job.state !== 'Cancelled' && length >= SHORT;
    }
    // One that starts at once needs no word.
    return (
      this.telling === 'all' &&
      job.state === 'Running' &&
      before !== 'Running' &&
      job.since - job.created >= SHORT
    );
  }

  private _tell(jobs: IJobRow[]): void {
    if (jobs.length > MOST) {
      this._tellMany(jobs);
    } else {
      jobs.forEach(job => this._tellOne(job));
    }
  }

  private _tellOne(job: IJobRow): void {
    const open = this._action(this._trans.__('Open'), CommandIDs.openJob, { id: job.id });
    if (job.state === 'Failed') {
      const log = this._action(this._trans.__('Log'), CommandIDs.openLog, { id: job.id });
      Notification.error(
        job.message
          ? this._trans.__('%1 failed: %2', job.name, job.message)
          : this._trans.__('%1 failed', job.name),
        { actions: [open, log], autoClose: false }
      );
    } else if (job.state === 'Succeeded') {
      Notification.success(this._trans.__('%1 succeeded', job.name), { actions: [open] });
    } else {
      Notification.info(this._trans.__('%1 has started', job.name), { actions: [open] });
    }
  }

  private _tellMany(jobs: IJobRow[]): void {
    const count = (state: IJobRow['state']) => jobs.filter(job => job.state === state).length;
    const [started, succeeded, failed] = [count('Running'), count('Succeeded'), count('Failed')];
    const parts = [
      started && this._trans._n('%1 job has started', '%1 jobs have started', started),
      succeeded && this._trans._n('%1 job succeeded', '%1 jobs succeeded', succeeded),
      failed && this._trans._n('%1 job failed', '%1 jobs failed', failed)
    ].filter(Boolean);
    Notification.emit(parts.join(', '), failed ? 'error' : succeeded ? 'success' : 'info', {
      actions: [this._action(this._trans.__('Open'), CommandIDs.openSidebar, {})],
      autoClose: failed ? false : undefined
    });
  }

  private _action(label: string, command: string, args: { id?: string }): Notification.IAction {
    return { label, callback: () => void this._commands.execute(command, args) };
  }

  private readonly _noted = new Map<string, IJobRow>();
  private _timer: ReturnType<typeof setTimeout> | undefined;
}

export const notificationsPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-konduktor:notifications',
  description: 'Notifies when a job starts or ends.',
  autoStart: true,
  requires: [IJobsModel],
  optional: [ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IJobsModel,
    settings: ISettingRegistry | null,
    translator: ITranslator | null
  ): void => {
    const teller = new Teller(app.commands, (translator ?? nullTranslator).load(DOMAIN));
    model.stateChanged.connect((_, change) => teller.note(change));
    void settings?.load(PLUGIN_ID).then(loaded => {
      const apply = () => {
        teller.telling = loaded.composite.notifications as Telling;
      };
      apply();
      loaded.changed.connect(apply);
    });
  }
};
