/** The tab of the main area that shows one job. */
import { ReactWidget } from '@jupyterlab/apputils';
import type { Message } from '@lumino/messaging';
import * as React from 'react';

import { DetailView, type IDetailProps } from './view';

export class JobPanel extends ReactWidget {
  constructor(readonly props: IDetailProps) {
    super();
    this.addClass('jp-KonduktorDetail-widget');
    document.addEventListener('visibilitychange', this._seen);
  }

  dispose(): void {
    document.removeEventListener('visibilitychange', this._seen);
    this.props.model.dispose();
    super.dispose();
  }

  protected render(): React.JSX.Element {
    return <DetailView {...this.props} />;
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._seen();
  }

  protected onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this._seen();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._seen();
  }

  private readonly _seen = (): void => {
    this.props.model.shown = this.isVisible && document.visibilityState === 'visible';
  };
}
