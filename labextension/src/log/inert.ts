/** What a log may do to a terminal: show text in colours, and overwrite its own last lines. */
import type { Terminal } from '@xterm/xterm';

/** Titles, palettes, links, clipboard, notifications and what shells send about themselves. */
const COMMANDS = [0, 1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 17, 19, 52, 99, 104, 105, 110, 111, 112, 117];
const MORE_COMMANDS = [119, 133, 633, 777, 1337];

/** Take everything else out of the terminal's hands, whatever the server has let through. */
export function inert({ parser }: Terminal): void {
  const swallow = () => true;
  for (const ident of [...COMMANDS, ...MORE_COMMANDS]) {
    parser.registerOscHandler(ident, swallow);
  }
  // Modes (another screen, the mouse, held back drawing), windows, margins, reports, the cursor's shape.
  for (const final of ['h', 'l', 'J', 'n', 'c']) {
    parser.registerCsiHandler({ prefix: '?', final }, swallow);
  }
  for (const final of ['h', 'l', 't', 'r', 'n', 'c', 's', 'u']) {
    parser.registerCsiHandler({ final }, swallow);
  }
  parser.registerCsiHandler({ prefix: '>', final: 'c' }, swallow);
  parser.registerCsiHandler({ intermediates: '!', final: 'p' }, swallow);
  parser.registerCsiHandler({ intermediates: '$', final: 'p' }, swallow);
  parser.registerCsiHandler({ intermediates: ' ', final: 'q' }, swallow);
  // Erasing the screen or all that was: a log keeps what it said.
  parser.registerCsiHandler({ final: 'J' }, params => params[0] === 2 || params[0] === 3);
  parser.registerDcsHandler({ intermediates: '$', final: 'q' }, swallow);
  parser.registerDcsHandler({ final: 'q' }, swallow);
  // Starting anew, and letters that become lines.
  parser.registerEscHandler({ final: 'c' }, swallow);
  for (const intermediates of ['(', ')', '*', '+']) {
    parser.registerEscHandler({ intermediates, final: '0' }, swallow);
  }
}
