/** The queues as a section of the sidebar. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { Api } from '../api';
import { QueuesPanel } from './panel';

export class QueuesWidget extends ReactWidget {
  constructor(
    private readonly _api: Pick<Api, 'queues'>,
    private readonly _connected: () => boolean,
    private readonly _trans: TranslationBundle
  ) {
    super();
    this.addClass('jp-Konduktor-queuesWidget');
  }

  protected onAfterShow(): void {
    this.update();
  }

  protected onAfterHide(): void {
    this.update();
  }

  protected render(): React.JSX.Element {
    return (
      <QueuesPanel
        api={this._api}
        shown={this.isVisible}
        connected={this._connected}
        trans={this._trans}
      />
    );
  }
}
