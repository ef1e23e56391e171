/** The item of the status bar: how many of one's jobs run and wait. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ReactWidget, UseSignal } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import * as React from 'react';

import { konduktorIcon } from './icons';
import { CommandIDs, DOMAIN, IJobsModel, type IJobRow } from './tokens';

/** "2 running · 1 queued"; "" if there never was a job of this user. */
export function statusText(trans: TranslationBundle, jobs: readonly IJobRow[]): string {
  const mine = jobs.filter(job => job.mine);
  if (mine.length === 0) {
    return '';
  }
  const count = (...states: string[]) => mine.filter(job => states.includes(job.state)).length;
  const running = count('Running', 'Starting');
  const queued = count('Queued');
  const parts = [
    running && trans.__('%1 running', running),
    queued && trans.__('%1 queued', queued)
  ].filter(Boolean);
  return parts.length > 0 ? parts.join(' · ') : trans.__('No jobs running');
}

class StatusItem extends ReactWidget {
  constructor(
    private readonly _model: IJobsModel,
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-Konduktor-status');
  }

  protected render(): React.JSX.Element {
    return (
      <UseSignal signal={this._model.changed}>
        {() => (
          <button
            type="button"
            title={this._trans.__('Show the jobs')}
            onClick={() => void this._commands.execute(CommandIDs.openSidebar)}
          >
            <konduktorIcon.react tag="span" width="14px" height="14px" />
            {statusText(this._trans, this._model.jobs)}
          </button>
        )}
      </UseSignal>
    );
  }
}

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-konduktor:status',
  description: 'Shows in the status bar how many jobs run and wait.',
  autoStart: true,
  requires: [IJobsModel],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IJobsModel,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    statusBar?.registerStatusItem('jupyter-konduktor:status', {
      item: new StatusItem(model, app.commands, trans),
      align: 'left',
      rank: 10,
      isActive: () => statusText(trans, model.jobs) !== '',
      activeStateChanged: model.changed
    });
  }
};
