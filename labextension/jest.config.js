const base = require('@jupyterlab/testing/lib/jest-config')(__dirname);

// These come as ES modules, which jest on node does not load as they are.
const esModules = [
  '@codemirror',
  '@jupyter/',
  '@jupyterlab/',
  '@marijn',
  '@microsoft',
  '@rjsf',
  '@xterm',
  'color',
  'exenv-es6',
  'lib0',
  'marked',
  'nanoid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'y-websocket',
  'yjs'
].join('|');

module.exports = {
  ...base,
  reporters: ['default'],
  testRegex: '/__tests__/.*\\.spec\\.tsx?$',
  transform: {
    ...base.transform,
    // Types are checked by `tsc -p tsconfig.test.json`, once for all files.
    '^.+\\.tsx?$': ['ts-jest', { tsconfig: './tsconfig.test.json', diagnostics: false }]
  },
  transformIgnorePatterns: [`/node_modules/(?!${esModules}).+`]
};
