/** Provides the list of jobs, fed by Jupyter's events and by a poll. */
import {
  JupyterLab,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from './api';
import { JobsModel } from './model';
import { DOMAIN, IJobsModel } from './tokens';

/** Also the id under which the settings of this extension are kept. */
export const PLUGIN_ID = 'jupyter-konduktor:plugin';

export const modelPlugin: JupyterFrontEndPlugin<IJobsModel> = {
  id: PLUGIN_ID,
  description: 'Keeps the list of jobs up to date.',
  autoStart: true,
  provides: IJobsModel,
  optional: [JupyterLab.IInfo, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    info: JupyterLab.IInfo | null,
    settings: ISettingRegistry | null,
    translator: ITranslator | null
  ): IJobsModel => {
    const model = new JobsModel({
      api: new Api(app.serviceManager.serverSettings),
      trans: (translator ?? nullTranslator).load(DOMAIN),
      events: app.serviceManager.events?.stream,
      connected: () => info?.isConnected ?? true
    });
    void settings?.load(PLUGIN_ID).then(loaded => {
      const apply = () => {
        model.interval = 1000 * (loaded.composite.pollInterval as number);
      };
      apply();
      model.allUsers = loaded.composite.showAllUsers as boolean;
      loaded.changed.connect(apply);
    });
    return model;
  }
};
