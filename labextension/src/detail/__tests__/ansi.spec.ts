import { styled } from '../ansi';

const ESC = '\x1b';

it.each([
  ['plain', [['plain', '']]],
  [
    `${ESC}[31mred${ESC}[0m and not`,
    [
      ['red', 'ansi-red-fg'],
      [' and not', '']
    ]
  ],
  [
    `${ESC}[1;32mboth${ESC}[22m one`,
    [
      ['both', 'ansi-green-fg ansi-bold'],
      [' one', 'ansi-green-fg']
    ]
  ],
  [`${ESC}[94;41mx`, [['x', 'ansi-blue-intense-fg ansi-red-bg']]],
  [
    `${ESC}[38;5;28;01mraise${ESC}[39;00m (`,
    [
      ['raise', 'ansi-green-fg ansi-bold'],
      [' (', '']
    ]
  ],
  [`${ESC}[38;2;250;10;10mx`, [['x', 'ansi-red-fg']]],
  [`${ESC}[38;5;9mx`, [['x', 'ansi-red-intense-fg']]],
  // Nothing but colours is obeyed, or seen.
  [
    `a${ESC}[2Jb${ESC}[10;10Hc`,
    [
      ['a', ''],
      ['b', ''],
      ['c', '']
    ]
  ],
  [
    `a${ESC}]8;;http://evil${String.fromCharCode(7)}b`,
    [
      ['a', ''],
      ['b', '']
    ]
  ],
  [
    `a${ESC}]52;c;ZXZpbA==${ESC}\\b`,
    [
      ['a', ''],
      ['b', '']
    ]
  ],
  [
    `a${ESC}P1$r${ESC}\\b`,
    [
      ['a', ''],
      ['b', '']
    ]
  ],
  ['a\x08\x00b\tc\n', [['ab\tc\n', '']]],
  [`a${ESC}`, [['a', '']]],
  [`${ESC}[38;5mx`, [['x', '']]],
  ['<b>&amp;', [['<b>&amp;', '']]]
])('%j', (text, parts) => {
  expect(styled(text as string).map(({ text, className }) => [text, className])).toEqual(parts);
});
