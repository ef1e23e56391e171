/** The colours and the font of the page, as a terminal takes them. */
import type { ITerminalOptions } from '@xterm/xterm';

/** Jupyter's own colours of ANSI text, as in the output of a cell. */
const ANSI = {
  black: '#3e424d',
  red: '#e75c58',
  green: '#00a250',
  yellow: '#ddb62b',
  blue: '#208ffb',
  magenta: '#d160c4',
  cyan: '#60c6c8',
  white: '#c5c1b4',
  brightBlack: '#828997',
  brightRed: '#f07178',
  brightGreen: '#22b469',
  brightYellow: '#e6c04a',
  brightBlue: '#4ba3fd',
  brightMagenta: '#dd84d3',
  brightCyan: '#82d6d8',
  brightWhite: '#e4e1d8'
};

export function themeOf(
  element: HTMLElement
): Pick<ITerminalOptions, 'theme' | 'fontFamily' | 'fontSize' | 'lineHeight'> {
  const style = getComputedStyle(element);
  const variable = (name: string) => style.getPropertyValue(name).trim();
  // The element has the page's colours by its style sheet, where variables within variables are resolved.
  const { backgroundColor: background, color: foreground } = style;
  return {
    fontFamily: style.fontFamily,
    fontSize: parseFloat(style.fontSize) || 13,
    lineHeight: 1.1,
    theme: {
      ...ANSI,
      background,
      foreground,
      cursor: background,
      cursorAccent: background,
      selectionBackground: variable('--jp-editor-selected-focused-background') || undefined,
      // What a search has found, while the focus is in its field.
      selectionInactiveBackground:
        variable('--jp-search-selected-match-background-color') || undefined,
      scrollbarSliderBackground: variable('--jp-layout-color3') || undefined,
      scrollbarSliderHoverBackground: variable('--jp-layout-color4') || undefined,
      scrollbarSliderActiveBackground: variable('--jp-layout-color4') || undefined
    }
  };
}
