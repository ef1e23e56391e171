/** The icon of the sidebar: a cell, and the queue it waits in. */
import { LabIcon } from '@jupyterlab/ui-components';

const SVG = `<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M4 4h16a1.5 1.5 0 0 1 1.5 1.5v4A1.5 1.5 0 0 1 20 11H4a1.5 1.5 0 0 1-1.5-1.5v-4A1.5 1.5 0 0 1 4 4zm3.2 1.6v3.8L10.6 7.500z" fill-rule="evenodd"/>
    <path d="M4.500 13.500h15a1 1 0 0 1 0 2h-15a1 1 0 0 1 0-2z"/>
    <path d="M6.500 18h11a1 1 0 0 1 0 2h-11a1 1 0 0 1 0-2z" opacity=".65"/>
  </g>
</svg>`;

export const konduktorIcon = new LabIcon({ name: 'jupyter-konduktor:jobs', svgstr: SVG });
