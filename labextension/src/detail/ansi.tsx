/** Text with ANSI colours, of which nothing but the colours is obeyed. */
import * as React from 'react';

const NAMES = ['black', 'red', 'green', 'yellow', 'blue', 'magenta', 'cyan', 'white'];

/* eslint-disable no-control-regex */
/** Any escape sequence, or what is left of one; colours are the ones that end in m. */
const ESCAPE =
  /\x1b(?:\[([0-?]*)[ -/]*([@-~])?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)/g;
/** Every control character but tabs and newlines. */
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
/* eslint-enable no-control-regex */

export interface IStyled {
  text: string;
  /** Jupyter's names of the styles, as in the output of cells. */
  className: string;
}

interface IStyle {
  foreground: number | null;
  background: number | null;
  bold: boolean;
  underline: boolean;
}

const PLAIN: IStyle = { foreground: null, background: null, bold: false, underline: false };

export function styled(text: string): IStyled[] {
  const parts: IStyled[] = [];
  let style = PLAIN;
  let last = 0;
  const push = (end: number) => {
    const plain = text.slice(last, end).replace(CONTROL, '');
    if (plain) {
      parts.push({ text: plain, className: classOf(style) });
    }
  };
  for (const match of text.matchAll(ESCAPE)) {
    push(match.index);
    last = match.index + match[0].length;
    if (match[2] === 'm') {
      style = after(style, match[1]);
    }
  }
  push(text.length);
  return parts;
}

export function Ansi({ text }: { text: string }): React.JSX.Element {
  return (
    <>
      {styled(text).map(({ text, className }, index) =>
        className ? (
          <span key={index} className={className}>
            {text}
          </span>
        ) : (
          text
        )
      )}
    </>
  );
}

function after(style: IStyle, parameters: string): IStyle {
  const codes = parameters.split(/[;:]/).map(Number);
  const next = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) {
      Object.assign(next, PLAIN);
    } else if (code === 1) {
      next.bold = true;
    } else if (code === 22) {
      next.bold = false;
    } else if (code === 4) {
      next.underline = true;
    } else if (code === 24) {
      next.underline = false;
    } else if (code === 38 || code === 48) {
      const [colour, used] = mixed(codes.slice(i + 1));
      next[code === 38 ? 'foreground' : 'background'] = colour;
      i += used;
    } else if (code === 39) {
      next.foreground = null;
    } else if (code === 49) {
      next.background = null;
    } else if (code >= 30 && code <= 37) {
      next.foreground = code - 30;
    } else if (code >= 40 && code <= 47) {
      next.background = code - 40;
    } else if (code >= 90 && code <= 97) {
      next.foreground = code - 90 + 8;
    } else if (code >= 100 && code <= 107) {
      next.background = code - 100 + 8;
    }
  }
  return next;
}

/** One of 256 colours or a mixed one as the nearest of the eight, and how many codes name it. */
function mixed([kind, ...codes]: number[]): [number | null, number] {
  if (kind === 5) {
    const [index] = codes;
    if (index === undefined || index < 16) {
      return [index ?? null, 2];
    }
    if (index >= 232) {
      return [index < 244 ? 8 : null, 2];
    }
    const cube = index - 16;
    return [nearest(Math.floor(cube / 36) / 5, (Math.floor(cube / 6) % 6) / 5, (cube % 6) / 5), 2];
  }
  if (kind === 2) {
    const [red = 0, green = 0, blue = 0] = codes;
    return [nearest(red / 255, green / 255, blue / 255), 4];
  }
  return [null, 0];
}

function nearest(red: number, green: number, blue: number): number {
  const most = Math.max(red, green, blue) || 1;
  const bit = (value: number) => (value / most > 0.6 ? 1 : 0);
  return bit(red) | (bit(green) << 1) | (bit(blue) << 2);
}

function classOf({ foreground, background, bold, underline }: IStyle): string {
  return [
    named(foreground, 'fg'),
    named(background, 'bg'),
    bold ? 'ansi-bold' : '',
    underline ? 'ansi-underline' : ''
  ]
    .filter(Boolean)
    .join(' ');
}

function named(colour: number | null, ground: string): string {
  const name = colour === null ? undefined : NAMES[colour % 8];
  return name ? `ansi-${name}${colour! >= 8 ? '-intense' : ''}-${ground}` : '';
}
