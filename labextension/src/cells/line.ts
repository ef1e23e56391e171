/**
 * The line `%%konduktor --gpus H100:8 --queue user-queue`: taken apart and put together.
 *
 * It is read as `jupyter_konduktor/magics/options.py` reads it; both are tested with `__tests__/lines.json`. Quotes group,
 * and there is no escape character. `$name` and `{name}` stand for variables of the notebook also within quotes, so they
 * need none.
 */

/** Options that take no value; every other one takes one. */
const SWITCHES = ['--detach', '--quiet', '--dry-run', '--help'];

/** An option of a line, or a word that belongs to none. */
export interface IItem {
  /** `--gpus`; "" for a word that belongs to no option. */
  flag: string;
  /** Without quotes; "" for a switch. */
  value: string;
  /** As it is written. */
  raw: string;
}

/** A line that cannot be taken apart. */
export class LineError extends Error {}

/** Where the line stands in a cell. */
export interface IPlace {
  start: number;
  end: number;
  indent: string;
  /** What follows `%%konduktor`. */
  options: string;
}

/** Find the line of a cell: IPython skips empty lines above it, and takes its indentation off the whole cell. */
export function find(source: string): IPlace | null {
  const match = /^((?:[ \t]*\n)*)([ \t]*)%%konduktor(?: ([^\n]*))?(?=\n|$)/.exec(source);
  if (!match) {
    return null;
  }
  const [all, empty, indent, options = ''] = match;
  return { start: empty.length, end: all.length, indent, options: options.trim() };
}

/** Take the options of a line apart. */
export function parse(options: string): IItem[] {
  if (options.trimEnd().endsWith('\\')) {
    throw new LineError('a trailing \\ does not continue it');
  }
  const words = split(options);
  const items: IItem[] = [];
  while (words.length) {
    const { raw, value: word } = words.shift()!;
    if (!word.startsWith('--')) {
      items.push({ flag: '', value: word, raw });
      continue;
    }
    const equals = word.indexOf('=');
    if (equals >= 0) {
      items.push({ flag: word.slice(0, equals), value: word.slice(equals + 1), raw });
    } else if (SWITCHES.includes(word) || !words.length || words[0].value.startsWith('--')) {
      items.push({ flag: word, value: '', raw });
    } else {
      const next = words.shift()!;
      items.push({ flag: word, value: next.value, raw: `${raw} ${next.raw}` });
    }
  }
  return items;
}

/** Make an option; without a value, a switch. */
export function option(flag: string, value?: string): IItem {
  if (value === undefined) {
    return { flag, value: '', raw: flag };
  }
  // A value that begins like an option would be taken for one.
  const sign = value.startsWith('--') ? '=' : ' ';
  return { flag, value, raw: `${flag}${sign}${quote(value)}` };
}

/** Put a line together. */
export function serialize(items: readonly IItem[]): string {
  return items.map(item => item.raw).join(' ');
}

function quote(value: string): string {
  // A \ needs no quotes, but at the end of the line it would be taken for a continuation.
  if (value !== '' && !/[\s'"\\]/.test(value)) {
    return value;
  }
  if (!value.includes("'")) {
    return `'${value}'`;
  }
  if (!value.includes('"')) {
    return `"${value}"`;
  }
  const parts = value.split("'").map(part => (part ? `'${part}'` : ''));
  return parts.join(`"'"`);
}

/** What stands between words; other white space is part of one. */
const GAP = /^[ \t\r\n]+/;

interface IWord {
  raw: string;
  value: string;
}

function split(text: string): IWord[] {
  const words: IWord[] = [];
  let rest = text.replace(GAP, '');
  while (rest) {
    const raw = /^(?:[^ \t\r\n'"]|'[^']*'|"[^"]*")+/.exec(rest)?.[0] ?? '';
    const after = rest.slice(raw.length);
    if (/^['"]/.test(after)) {
      throw new LineError('a quote is opened and not closed');
    }
    words.push({ raw, value: raw.replace(/'([^']*)'|"([^"]*)"/g, (_, one, two) => one ?? two) });
    rest = after.replace(GAP, '');
  }
  return words;
}
