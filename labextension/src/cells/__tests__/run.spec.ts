import type { ISessionContext } from '@jupyterlab/apputils';
import { nullTranslator } from '@jupyterlab/translation';

import { Api } from '../../api';
import { fromKernel } from '../run';

const trans = nullTranslator.load('');
const api = { about: async () => ({ version: '2.0', api: 1, user: 'ada' }) } as Partial<Api> as Api;

/** A kernel that answers a question for a version so. */
function kernel(content: object, status = 'idle') {
  const requestExecute = jest.fn(() => ({ done: Promise.resolve({ content }) }));
  const context = { session: { kernel: { status, requestExecute } } };
  return { context: context as unknown as ISessionContext, requestExecute };
}

const has = (version: string) => ({
  status: 'ok',
  user_expressions: { version: { status: 'ok', data: { 'text/plain': `'${version}'` } } }
});
const LACKS = { status: 'ok', user_expressions: { version: { status: 'error' } } };

it.each([
  ['of the same version', has('2.0'), undefined],
  ['of another version', has('1.0'), 'The kernel has jupyter_konduktor 1.0, the server 2.0.'],
  ['without it', LACKS, "This notebook's kernel has no jupyter_konduktor"],
  ['that answers with an error', { status: 'error' }, 'has no jupyter_konduktor']
])('says what is to be known of a kernel %s', async (_, content, note) => {
  const { notes } = await fromKernel(kernel(content).context, api, trans);
  if (note === undefined) {
    expect(notes).toBeUndefined();
  } else {
    expect(notes![0]).toContain(note);
  }
});

it('asks nothing of a kernel that is busy, and needs none', async () => {
  const { context, requestExecute } = kernel(has('1.0'), 'busy');
  expect(await fromKernel(context, api, trans)).toEqual({});
  expect(requestExecute).not.toHaveBeenCalled();
  expect(await fromKernel({ session: null } as ISessionContext, api, trans)).toEqual({});
});

it('says nothing where the kernel ends meanwhile, or the server does not answer', async () => {
  const { context, requestExecute } = kernel(has('1.0'));
  const away = { about: () => Promise.reject(new Error('away')) } as Partial<Api> as Api;
  expect(await fromKernel(context, away, trans)).toEqual({});
  requestExecute.mockReturnValue({ done: Promise.reject(new Error('dead')) });
  expect(await fromKernel(context, api, trans)).toEqual({});
});
