/** The sidebar as Lumino sees it. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import { Menu } from '@lumino/widgets';
import * as React from 'react';

import { CommandIDs, type IJobsModel } from '../tokens';
import { JobsPanel } from './panel';

/** The context menu of a job; "" is a line between. Those that are not registered are left out. */
const MENU = [
  CommandIDs.openJob,
  CommandIDs.openLog,
  CommandIDs.openNotebook,
  '',
  CommandIDs.copyAttachCode,
  CommandIDs.insertAttachCell,
  '',
  CommandIDs.stop,
  CommandIDs.resume,
  CommandIDs.cancel
];

export class JobsWidget extends ReactWidget {
  constructor(
    private readonly _model: IJobsModel,
    private readonly _commands: CommandRegistry,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-Konduktor-jobsWidget');
    this._menu = new Menu({ commands: _commands });
  }

  dispose(): void {
    this._menu.dispose();
    super.dispose();
  }

  protected onAfterShow(): void {
    void this._model.refresh();
    this.update();
  }

  protected onAfterHide(): void {
    this.update();
  }

  protected render(): React.JSX.Element {
    return (
      <JobsPanel
        model={this._model}
        commands={this._commands}
        shown={this.isVisible}
        openMenu={this._openMenu}
        trans={this._trans}
      />
    );
  }

  private _openMenu = (id: string, x: number, y: number): void => {
    this._menu.clearItems();
    for (const command of MENU) {
      if (!command) {
        this._menu.addItem({ type: 'separator' });
      } else if (this._commands.hasCommand(command)) {
        this._menu.addItem({ command, args: { id } });
      }
    }
    this._menu.open(x, y);
  };

  private readonly _menu: Menu;
}
