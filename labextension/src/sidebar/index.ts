/** Adds the sidebar, and the commands that open it. */
import {
  ILayoutRestorer,
  JupyterLab,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import {
  CommandToolbarButton,
  PanelWithToolbar,
  SidePanel,
  refreshIcon
} from '@jupyterlab/ui-components';
import type { AccordionPanel } from '@lumino/widgets';

import { Api } from '../api';
import { konduktorIcon } from '../icons';
import { QueuesWidget } from '../queues/widget';
import { CommandIDs, DOMAIN, IJobsModel } from '../tokens';
import { JobsWidget } from './widget';

const ID = 'jp-konduktor-sidebar';

/** The place of the queues among the sections. */
const QUEUES = 1;

export const sidebarPlugin: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-konduktor:sidebar',
  description: 'Adds the sidebar with the jobs and the queues.',
  autoStart: true,
  requires: [IJobsModel],
  optional: [ICommandPalette, JupyterLab.IInfo, ILayoutRestorer, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IJobsModel,
    palette: ICommandPalette | null,
    info: JupyterLab.IInfo | null,
    restorer: ILayoutRestorer | null,
    translator: ITranslator | null
  ): void => {
    const { commands, shell } = app;
    const trans = (translator ?? nullTranslator).load(DOMAIN);

    const jobs = new PanelWithToolbar();
    jobs.title.label = trans.__('Jobs');
    jobs.addClass('jp-Konduktor-section');
    jobs.addWidget(new JobsWidget(model, commands, trans));
    jobs.toolbar.addItem(
      'refresh',
      new CommandToolbarButton({
        commands,
        id: CommandIDs.refresh,
        icon: refreshIcon,
        label: ''
      })
    );

    const queues = new PanelWithToolbar();
    queues.title.label = trans.__('Queues');
    queues.addClass('jp-Konduktor-section');
    const connected = () => info?.isConnected ?? true;
    queues.addWidget(
      new QueuesWidget(new Api(app.serviceManager.serverSettings), connected, trans)
    );

    const panel = new SidePanel({ translator: translator ?? nullTranslator });
    panel.id = ID;
    panel.addClass('jp-Konduktor-sidebar');
    panel.title.icon = konduktorIcon;
    panel.title.caption = trans.__('Konduktor Jobs');
    panel.node.setAttribute('role', 'region');
    panel.node.setAttribute('aria-label', trans.__('Konduktor jobs'));
    panel.addWidget(jobs);
    panel.addWidget(queues);
    const sections = panel.content as AccordionPanel;
    sections.collapse(QUEUES);
    sections.expansionToggled.connect(() => {
      // A section that was collapsed before it was ever laid out has no height to come back to.
      if (!queues.isHidden && sections.relativeSizes()[QUEUES] < 0.1) {
        sections.setRelativeSizes([3, 2]);
      }
    });

    shell.add(panel, 'left', { rank: 550, type: 'Konduktor' });
    restorer?.add(panel, ID);

    const noArgs = { args: { type: 'object', properties: {} } } as const;
    commands.addCommand(CommandIDs.openSidebar, {
      label: trans.__('Show Jobs'),
      caption: trans.__('Open the sidebar with the jobs'),
      icon: konduktorIcon,
      describedBy: noArgs,
      execute: () => shell.activateById(ID)
    });
    commands.addCommand(CommandIDs.openQueues, {
      label: trans.__('Show Queues'),
      caption: trans.__('Open the queues: quota, use and waiting jobs'),
      icon: konduktorIcon,
      describedBy: noArgs,
      execute: () => {
        sections.expand(QUEUES);
        shell.activateById(ID);
      }
    });
    for (const command of [CommandIDs.openSidebar, CommandIDs.openQueues]) {
      palette?.addItem({ command, category: trans.__('Konduktor') });
    }
  }
};
