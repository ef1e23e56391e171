import { nullTranslator } from '@jupyterlab/translation';

import { statusText } from '../status';
import type { IJobRow } from '../tokens';
import { ago, span } from '../words';
import { row } from './fixtures';

const trans = nullTranslator.load('');

it.each<[string, Partial<IJobRow>[]]>([
  ['', []],
  ['', [{ mine: false }]],
  ['2 running · 1 queued', [{}, { state: 'Starting' }, { state: 'Queued' }, { mine: false }]],
  ['1 running', [{}, { state: 'Failed' }]],
  ['1 queued', [{ state: 'Queued' }]],
  ['No jobs running', [{ state: 'Succeeded' }]]
])('says "%s"', (text, jobs) => {
  expect(
    statusText(
      trans,
      jobs.map((over, i) => row(`j${i}`, over))
    )
  ).toBe(text);
});

it('writes times in their largest units', () => {
  expect([-3, 8.9, 60, 200, 3600, 7500, 90000, 349200].map(s => span(trans, s))).toEqual([
    '0 s',
    '8 s',
    '1 min',
    '3 min 20 s',
    '1 h',
    '2 h 5 min',
    '1 d 1 h',
    '4 d 1 h'
  ]);
  expect([-3, 59, 61, 7500, 90000].map(s => ago(trans, s))).toEqual([
    'just now',
    'just now',
    '1 min ago',
    '2 h ago',
    '1 d ago'
  ]);
});
