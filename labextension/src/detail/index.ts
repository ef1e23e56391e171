/** Opens a job, or its log, in a tab of the main area. */
import {
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { IThemeManager, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Api } from '../api';
import { konduktorIcon } from '../icons';
import { CommandIDs, DOMAIN, IJobsModel } from '../tokens';
import { DetailModel } from './model';
import { JobPanel } from './widget';

/** Where a user says that terminals must be readable by a screen reader; a log is one. */
const TERMINALS = '@jupyterlab/terminal-extension:plugin';

export const detailPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-konduktor:detail',
  description: 'Shows one job with its timeline, log and result.',
  autoStart: true,
  requires: [IJobsModel],
  optional: [ILayoutRestorer, ISettingRegistry, IThemeManager, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    jobs: IJobsModel,
    restorer: ILayoutRestorer | null,
    settings: ISettingRegistry | null,
    themes: IThemeManager | null,
    translator: ITranslator | null
  ): void => {
    const { commands, shell } = app;
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const api = new Api(app.serviceManager.serverSettings);
    const tracker = new WidgetTracker<MainAreaWidget<JobPanel>>({ namespace: 'konduktor-job' });

    const open = async (id: string): Promise<JobPanel> => {
      const screenReaderMode = await readsAloud(settings);
      // From here on nothing is waited for until it stands: a second call must find it.
      let widget = tracker.find(({ content }) => content.props.model.id === id);
      if (!widget) {
        const content = new JobPanel({
          model: new DetailModel(api, jobs, id),
          api,
          commands,
          restyled: themes?.themeChanged,
          screenReaderMode,
          trans
        });
        widget = new MainAreaWidget({ content });
        widget.id = `jp-konduktor-job-${id}`;
        widget.title.label = id.slice(id.indexOf('/') + 1);
        widget.title.caption = id;
        widget.title.icon = konduktorIcon;
        // What can be done stands beside the job's name.
        widget.toolbar.hide();
        shell.add(widget, 'main', { type: 'Konduktor Job' });
        await tracker.add(widget);
      }
      shell.activateById(widget.id);
      return widget.content;
    };

    const id = { type: 'string', description: 'The job, as BACKEND/NAME.' } as const;
    commands.addCommand(CommandIDs.openJob, {
      label: trans.__('Open Job'),
      caption: trans.__('Show its timeline, log and result'),
      describedBy: { args: { type: 'object', properties: { id }, required: ['id'] } },
      execute: async args => {
        await open(String(args.id));
      }
    });
    commands.addCommand(CommandIDs.openLog, {
      label: trans.__('Open Log'),
      caption: trans.__('Show what the job writes'),
      describedBy: {
        args: {
          type: 'object',
          properties: {
            id,
            node: { type: 'integer', description: 'Which node, from 0.' },
            attempt: {
              type: 'integer',
              description: 'Which attempt, from 0; the last if not given.'
            }
          },
          required: ['id']
        }
      },
      execute: async args => {
        const { model } = (await open(String(args.id))).props;
        model.openLog(
          Number(args.node ?? 0),
          args.attempt === undefined ? undefined : Number(args.attempt)
        );
      }
    });
    void restorer?.restore(tracker, {
      command: CommandIDs.openJob,
      args: ({ content }) => ({ id: content.props.model.id }),
      name: ({ content }) => content.props.model.id
    });
  }
};

async function readsAloud(settings: ISettingRegistry | null): Promise<boolean> {
  try {
    return !!(await settings?.load(TERMINALS))?.composite.screenReaderMode;
  } catch {
    // There are no terminals here, and no such setting.
    return false;
  }
}
