/** What the form shows of a line: its fields, what is wrong with one, and how the filled-in form becomes a line. */
import type { TranslationBundle } from '@jupyterlab/translation';

import { option, serialize, type IItem } from './line';

/** The fields of the form as texts; "" is one that was not filled in. */
export interface IFields {
  gpuKind: string;
  gpuCount: string;
  nodes: string;
  cpus: string;
  memory: string;
  queue: string;
  priority: string;
  image: string;
  timeout: string;
  name: string;
  out: string;
  backend: string;
  detach: boolean;
}

export type Field = keyof IFields;
export type TextField = Exclude<Field, 'detach'>;

/** In the order in which new options are written. */
const FLAGS = [
  '--gpus',
  '--nodes',
  '--cpus',
  '--memory',
  '--image',
  '--queue',
  '--priority',
  '--out',
  '--name',
  '--timeout',
  '--backend',
  '--detach'
];

/** Show the options of a line as fields. */
export function read(items: readonly IItem[]): IFields {
  const text = (flag: string) => texts(items, flag).join(' ');
  const gpus = text('--gpus');
  // A plain word is a kind, of which one is meant.
  const [, kind, count] = /^(?:(.*):)?([^:]*)$/.exec(gpus)!;
  const alone = kind === undefined && /^[A-Za-z]/.test(count);
  return {
    gpuKind: alone ? count : (kind ?? ''),
    gpuCount: alone ? '' : count,
    nodes: text('--nodes'),
    cpus: text('--cpus'),
    memory: text('--memory'),
    queue: text('--queue'),
    priority: text('--priority'),
    image: text('--image'),
    timeout: text('--timeout'),
    name: text('--name'),
    out: text('--out'),
    backend: text('--backend'),
    detach: items.some(item => item.flag === '--detach')
  };
}

/** Put what was changed in the form into a line; the rest of the line stays as it is written. */
export function write(items: readonly IItem[], fields: IFields): string {
  const before = options(read(items));
  const after = options(fields);
  let result = [...items];
  for (const flag of FLAGS) {
    const wanted = after[flag] ?? [];
    const twice = flag !== '--out' && result.filter(item => item.flag === flag).length > 1;
    if (!twice && serialize(wanted) === serialize(before[flag] ?? [])) {
      continue;
    }
    const place = result.findIndex(item => item.flag === flag);
    result = result.filter(item => item.flag !== flag);
    result.splice(place < 0 ? result.length : place, 0, ...wanted);
  }
  return serialize(result);
}

/** Say what is wrong with each field that was filled in wrongly, one sentence each. */
export function check(fields: IFields, trans: TranslationBundle): Partial<Record<Field, string>> {
  const name = trans.__(
    'Lower-case letters, digits and - only, beginning with a letter, at most 36 characters.'
  );
  const label = trans.__('Lower-case letters, digits, - and . only, at most 63 characters.');
  const rules: Partial<Record<Field, [RegExp, string]>> = {
    gpuKind: [
      /^(?=.*\d)[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*$/,
      trans.__('A kind of GPU is written like H100 or A100-80GB.')
    ],
    gpuCount: [/^0*[1-9]\d{0,8}$/, trans.__('The number of GPUs is a whole number from 1.')],
    nodes: [/^0*[1-9]\d{0,3}$/, trans.__('The number of nodes is a whole number from 1 to 9,999.')],
    cpus: [
      /^(?=.*[1-9])\d+(\.\d+)?m?$/,
      trans.__('CPUs are a number of cores, such as 8, 0.5 or 500m.')
    ],
    memory: [
      /^(?=.*[1-9])\d+(\.\d+)?\s*([KMGT]i)?$/,
      trans.__('Memory is a number of GiB, or a size in Ki, Mi, Gi or Ti, such as 16Gi.')
    ],
    queue: [/^(?=.{1,63}$)[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, label],
    priority: [/^(?=.{1,63}$)([a-z0-9]([-a-z0-9.]*[a-z0-9])?|[-+]?\d{1,9})$/, label],
    image: [
      /^[^\s]+$/,
      trans.__('An image is one word, such as python:3.12 or host/team/train:v1.')
    ],
    timeout: [
      /^(?=.*[1-9])\d+(\.\d+)?\s*[smhd]?$/,
      trans.__('A time is a number of seconds, or written like 90s, 10m, 2h or 1d.')
    ],
    name: [/^(?=.{1,36}$)[a-z]([-a-z0-9]*[a-z0-9])?$/, name],
    out: [
      /^([+-]?[\p{L}_][\p{L}\p{N}_]*)([\s,]+[+-]?[\p{L}_][\p{L}\p{N}_]*)*[\s,]*$/u,
      trans.__('Outputs are names of variables, such as model,loss.')
    ]
  };
  const wrong: Partial<Record<Field, string>> = {};
  for (const [field, [allowed, sentence]] of Object.entries(rules) as [
    TextField,
    [RegExp, string]
  ][]) {
    const text = fields[field].trim();
    if (text && !standsForVariable(text) && !allowed.test(text)) {
      wrong[field] = sentence;
    }
  }
  return wrong;
}

/** The kernel puts the variable in, and says what is wrong with it. */
function standsForVariable(text: string): boolean {
  return /\{[A-Za-z_]\w*\}|\$[A-Za-z_]\w*/.test(text);
}

/** The options that the fields stand for. */
function options(fields: IFields): Record<string, IItem[]> {
  const made: Record<string, IItem[]> = {};
  const add = (flag: string, value: string) => {
    if (value.trim()) {
      (made[flag] ??= []).push(option(flag, value.trim()));
    }
  };
  const [kind, count] = [fields.gpuKind.trim(), fields.gpuCount.trim()];
  add('--gpus', kind ? `${kind}:${count || 1}` : count);
  add('--nodes', fields.nodes);
  add('--cpus', fields.cpus);
  add('--memory', fields.memory);
  add('--image', fields.image);
  add('--queue', fields.queue);
  add('--priority', fields.priority);
  // "model, loss +extra" is two: a sign holds for all names of its option.
  for (const names of fields.out.replace(/\s*,\s*/g, ',').split(/\s+/)) {
    add('--out', names.replace(/,+$/, ''));
  }
  add('--name', fields.name);
  add('--timeout', fields.timeout);
  add('--backend', fields.backend);
  if (fields.detach) {
    made['--detach'] = [option('--detach')];
  }
  return made;
}

function texts(items: readonly IItem[], flag: string): string[] {
  const values = items.filter(item => item.flag === flag).map(item => item.value);
  // Of others only one may stand there; the kernel refuses a second one.
  return flag === '--out' ? values : values.slice(-1);
}
