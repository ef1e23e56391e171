/** The plugins of this extension; what each does stands in its own module. */
import { cellsPlugin } from './cells';
import { commandsPlugin } from './commands';
import { detailPlugin } from './detail';
import { notificationsPlugin } from './notifications';
import { modelPlugin } from './plugin';
import { sidebarPlugin } from './sidebar';
import { statusPlugin } from './status';

export * from './tokens';

export default [
  modelPlugin,
  commandsPlugin,
  sidebarPlugin,
  statusPlugin,
  notificationsPlugin,
  detailPlugin,
  cellsPlugin
];
