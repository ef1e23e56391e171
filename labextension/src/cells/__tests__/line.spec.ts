import { find, LineError, option, parse, serialize } from '../line';
import lines from './lines.json';

const REPEATED = [
  'env',
  'secret',
  'in',
  'out',
  'packages',
  'setup',
  'topology',
  'volume',
  'allow_secret'
];
const SWITCHES = ['detach', 'quiet', 'dry_run', 'help'];

/** The values of a line as the kernel names them. */
function values(line: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const { flag, value } of parse(line)) {
    const key = flag.slice(2).replaceAll('-', '_');
    if (REPEATED.includes(key)) {
      found[key] = [...((found[key] as string[]) ?? []), value];
    } else {
      found[key] = SWITCHES.includes(key) ? true : value;
    }
  }
  return found;
}

describe('a line', () => {
  it.each(lines as [string, object | null][])(
    '%j is read as the kernel reads it',
    (line, wanted) => {
      if (wanted === null) {
        expect(() => parse(line)).toThrow(LineError);
      } else {
        expect(values(line)).toEqual(wanted);
      }
    }
  );

  it.each(lines.filter(([, wanted]) => wanted) as [string, object][])(
    '%j survives a round trip',
    (line, wanted) => {
      const written = serialize(parse(line));
      expect(values(written)).toEqual(wanted);
      expect(serialize(parse(written))).toBe(written);
    }
  );

  it('brings back any value that was written', () => {
    // The same sequence every time: a linear congruential generator.
    let seed = 20261121;
    const next = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return (seed >>> 8) % below;
    };
    const letters = [...'ab-=#$ {}\'"\\,:/\t\u00a0é漢'];
    for (let round = 0; round < 3000; round++) {
      const given = Array.from({ length: 1 + next(3) }, () =>
        option(
          '--env',
          Array.from({ length: next(8) }, () => letters[next(letters.length)]).join('')
        )
      );
      const line = serialize([...given, option('--detach')]);
      expect(parse(line).map(item => [item.flag, item.value])).toEqual([
        ...given.map(item => ['--env', item.value]),
        ['--detach', '']
      ]);
    }
  });

  it('keeps what it does not know as it is written', () => {
    const line = `--gpus 1 # 'a note' --later "x y" -q stray`;
    expect(serialize(parse(line))).toBe(line);
  });
});

describe('the line of a cell', () => {
  it.each([
    ['%%konduktor --gpus 1\nx = 1', '--gpus 1', '%%konduktor --gpus 1'],
    ['%%konduktor', '', '%%konduktor'],
    ['\n  \n  %%konduktor   --gpus 1  \n  x = 1', '--gpus 1', '  %%konduktor   --gpus 1  ']
  ])('is found in %j', (source, options, line) => {
    const place = find(source)!;
    expect(place.options).toBe(options);
    expect(source.slice(place.start, place.end)).toBe(line);
  });

  it.each([
    '',
    'x = 1\n%%konduktor',
    '%%konduktors --gpus 1',
    '# %%konduktor',
    '%%time\n%%konduktor',
    '%konduktor jobs'
  ])('is not found in %j', source => expect(find(source)).toBeNull());
});
