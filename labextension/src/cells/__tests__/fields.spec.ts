import { nullTranslator } from '@jupyterlab/translation';

import { check, read, write, type IFields } from '../fields';
import { parse } from '../line';

const trans = nullTranslator.load('');

function changed(line: string, change: Partial<IFields>): string {
  const items = parse(line);
  return write(items, { ...read(items), ...change });
}

const EMPTY = read([]);

describe('the fields', () => {
  it('show what the line says', () => {
    const line =
      "--gpus H100:8 --nodes 2 --queue 'user-queue' --out a,b --out +c --detach --env A=1 --memory=64Gi";
    expect(read(parse(line))).toEqual({
      ...EMPTY,
      gpuKind: 'H100',
      gpuCount: '8',
      nodes: '2',
      queue: 'user-queue',
      out: 'a,b +c',
      detach: true,
      memory: '64Gi'
    });
  });

  it.each([
    ['8', '', '8'],
    ['H100', 'H100', ''],
    ['{kind}:{count}', '{kind}', '{count}'],
    ['$gpus', '', '$gpus']
  ])('show --gpus %s as kind %j and count %j', (gpus, gpuKind, gpuCount) => {
    expect(read(parse(`--gpus ${gpus}`))).toEqual({ ...EMPTY, gpuKind, gpuCount });
  });

  it('become a line of what was filled in, and of nothing else', () => {
    expect(changed('', {})).toBe('');
    expect(changed('', { queue: ' user-queue ', gpuKind: 'H100', gpuCount: '8' })).toBe(
      '--gpus H100:8 --queue user-queue'
    );
    expect(changed('', { gpuKind: 'H100' })).toBe('--gpus H100:1');
    expect(changed('', { out: 'model, loss +extra,', detach: true })).toBe(
      '--out model,loss --out +extra --detach'
    );
  });

  it('leave the rest of the line as it is written', () => {
    const line = `--env 'A=two words' --gpus=H100:8 --later x --out a --out +b --quiet`;
    expect(changed(line, {})).toBe(line);
    expect(changed(line, { gpuCount: '4' })).toBe(
      `--env 'A=two words' --gpus H100:4 --later x --out a --out +b --quiet`
    );
    expect(changed(line, { gpuKind: '', gpuCount: '', out: '' })).toBe(
      `--env 'A=two words' --later x --quiet`
    );
    expect(changed(line, { out: 'c', nodes: '2' })).toBe(
      `--env 'A=two words' --gpus=H100:8 --later x --out c --quiet --nodes 2`
    );
  });

  it('mend an option that stands there twice', () => {
    expect(changed('--gpus 1 --nodes 2 --gpus 4', {})).toBe('--gpus 4 --nodes 2');
  });
});

describe('what is wrong', () => {
  it.each<[Partial<IFields>]>([
    [{}],
    [
      {
        gpuKind: 'A100-80GB',
        gpuCount: '8',
        nodes: '2',
        cpus: '0.5',
        memory: '1.5Gi',
        timeout: '2h'
      }
    ],
    [
      {
        cpus: '500m',
        memory: '16',
        timeout: '90',
        out: '+model,-loss ünï',
        name: 'train-1',
        priority: '-1'
      }
    ],
    [{ gpuCount: '{count}', queue: '$queue', memory: '{size}Gi' }]
  ])('is nothing in %j', fields => expect(check({ ...EMPTY, ...fields }, trans)).toEqual({}));

  it.each<[keyof IFields, string]>([
    ['gpuKind', 'many'],
    ['gpuCount', '0'],
    ['gpuCount', '1.5'],
    ['nodes', '-1'],
    ['cpus', 'a few'],
    ['cpus', '0'],
    ['memory', '16GB'],
    ['queue', 'User Queue'],
    ['priority', 'Low'],
    ['image', 'python 3'],
    ['timeout', '2 hours'],
    ['name', '1st'],
    ['name', 'a'.repeat(37)],
    ['out', 'model.state'],
    ['out', 'x=1']
  ])('is said once of %s = %j', (field, text) => {
    const wrong = check({ ...EMPTY, [field]: text }, trans);
    expect(Object.keys(wrong)).toEqual([field]);
    expect(wrong[field]).toMatch(/^[A-Z].*\.$/);
  });
});
