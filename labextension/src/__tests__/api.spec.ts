import { ServerConnection } from '@jupyterlab/services';

import { Api } from '../api';

it('puts the place of a log into its address', () => {
  const url = new Api().downloadUrl('local/train 1', { node: 2 });
  expect(url).toMatch(/konduktor\/jobs\/local\/train%201\/log\/download\?node=2$/);
});

it.each([
  [404, '{"message": "There is no job train"}', 'There is no job train'],
  [404, '<title>404</title>', 'The server has no jupyter_konduktor: install it'],
  [404, '{"message": ""}', 'The server has no jupyter_konduktor: install it'],
  [502, '<title>Bad Gateway</title>', 'The server answered 502 Bad Gateway']
])('says what an answer of status %i means: %s', async (status, body, line) => {
  const answer = new Response(body, { status, statusText: status === 502 ? 'Bad Gateway' : '' });
  const settings = ServerConnection.makeSettings({ fetch: async () => answer });
  await expect(new Api(settings).job('local/train')).rejects.toMatchObject({
    status,
    message: expect.stringContaining(line)
  });
});
