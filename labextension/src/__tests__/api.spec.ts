import { Api } from '../api';

it('puts the place of a log into its address', () => {
  const url = new Api().downloadUrl('local/train 1', { node: 2 });
  expect(url).toMatch(/konduktor\/jobs\/local\/train%201\/log\/download\?node=2$/);
});
