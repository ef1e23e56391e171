/** Saving a whole log as a file. */
import { Notification } from '@jupyterlab/apputils';
import { ServerConnection } from '@jupyterlab/services';

import type { Api, ILogPlace } from '../api';

/**
 * Have the browser save a log.
 *
 * A page that the server itself has sent has its cookie, and the browser writes the file as it comes. Elsewhere only
 * a token opens the server, which a link should not carry: the log is fetched with it first.
 */
export async function download(api: Api, id: string, place: ILogPlace): Promise<void> {
  const url = api.downloadUrl(id, place);
  const name = `${id.split('/').pop()}.log`;
  if (new URL(url, location.href).origin === location.origin) {
    save(url, name);
    return;
  }
  try {
    const response = await ServerConnection.makeRequest(url, {}, api.settings);
    if (!response.ok) {
      throw new Error(`${response.status} ${response.statusText}`);
    }
    const object = URL.createObjectURL(await response.blob());
    save(object, name);
    setTimeout(() => URL.revokeObjectURL(object), 60_000);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    Notification.error(said, { autoClose: 8000 });
  }
}

function save(url: string, name: string): void {
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
}
