"""How the widget looks: one style sheet in the colours of the Jupyter theme, with values for where there is none."""

from __future__ import annotations

JOB = "jp-KonduktorJob"
"""Class of a widget while it is live."""
SAVED = "jp-KonduktorJob-saved"
"""Class of the summary that is saved with the notebook."""
NOTE = "jp-KonduktorJob-note"
"""Class of what a front end that runs cells but has no widgets shows in place of one."""

_OUTPUT = ".jp-OutputArea-child"
_LIVE = f".{JOB}:not(.jupyter-widgets-disconnected)"

SWITCH = f"""<style>
{_OUTPUT}:has(.{SAVED}):has(+ {_OUTPUT} {_LIVE}),
{_OUTPUT}:has(.{SAVED}) + {_OUTPUT}:has(> .lm-Panel.jp-OutputArea-output):not(:has({_LIVE})) {{ display: none; }}
.jp-mod-trusted .{NOTE} {{ display: inline !important; }}
</style>"""
"""Shows the live widget or, where there is none, the summary before it.

JupyterLab shows an error for a widget that was saved and is no more, and a frozen one after the kernel was restarted.
What a JupyterLab without widgets is told is hidden from whoever reads the notebook elsewhere.
"""

SHEET = f"""<style>
.{JOB} {{
  --jp-KonduktorJob-black: #3e424d; --jp-KonduktorJob-red: #b8302c; --jp-KonduktorJob-green: #00701f;
  --jp-KonduktorJob-yellow: #7a5c00; --jp-KonduktorJob-blue: #0b5cad; --jp-KonduktorJob-magenta: #9c2f90;
  --jp-KonduktorJob-cyan: #0b6b70; --jp-KonduktorJob-white: #6b6a66;
  box-sizing: border-box; margin: 4px 0; padding: 4px 8px; overflow: hidden;
  border: 1px solid var(--jp-border-color2, #e0e0e0); border-radius: var(--jp-border-radius, 2px);
  color: var(--jp-ui-font-color1, inherit);
  font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: var(--jp-ui-font-size1, 13px);
}}
[data-jp-theme-light="false"] .{JOB}, .vscode-dark .{JOB} {{
  --jp-KonduktorJob-black: #9a9da6; --jp-KonduktorJob-red: #ff8a80; --jp-KonduktorJob-green: #5fd38a;
  --jp-KonduktorJob-yellow: #e5c453; --jp-KonduktorJob-blue: #7ab8ff; --jp-KonduktorJob-magenta: #ea94df;
  --jp-KonduktorJob-cyan: #6fd3d6; --jp-KonduktorJob-white: #dddad0;
}}
.{JOB} .widget-html, .{JOB} .widget-html-content {{
  width: auto; height: auto; min-height: 0; margin: 0; line-height: 20px; font-size: inherit; overflow-wrap: anywhere;
}}
.{JOB} .jp-KonduktorJob-line {{ align-items: baseline; flex-wrap: wrap; column-gap: 8px; overflow: visible; }}
.{JOB} .jp-KonduktorJob-status {{ flex: 1 1 16em; min-width: 0; }}
.{JOB} .jp-KonduktorJob-time {{ color: var(--jp-ui-font-color2, inherit); font-variant-numeric: tabular-nums; }}
.{JOB} .jp-KonduktorJob-quiet {{ color: var(--jp-ui-font-color2, inherit); }}
.{JOB} .jp-KonduktorJob-error {{ color: var(--jp-error-color1, #d32f2f); }}
.{JOB} .widget-button {{
  width: auto; height: 24px; line-height: 22px; margin: 0; padding: 0 8px; font-size: inherit; box-shadow: none;
  color: var(--jp-ui-font-color1, inherit); background: var(--jp-layout-color2, transparent);
  border: 1px solid var(--jp-border-color1, #bdbdbd); border-radius: var(--jp-border-radius, 2px);
}}
.{JOB} .widget-button:focus-visible, .{JOB} summary:focus-visible, .{JOB} input:focus-visible {{
  outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px;
}}
.{JOB} summary {{ width: max-content; cursor: pointer; color: var(--jp-ui-font-color2, inherit); }}
.{JOB}:not(:has(details[open])) .jp-KonduktorJob-more {{ display: none; }}
.{JOB} label {{ display: flex; flex-wrap: wrap; align-items: baseline; gap: 0 8px; margin: 0; font-size: inherit; }}
.{JOB} input {{
  flex: 1 1 20em; min-width: 0; max-width: 40em; height: 24px; box-sizing: border-box; padding: 0 4px;
  color: inherit; background: var(--jp-layout-color1, transparent);
  border: 1px solid var(--jp-border-color1, #bdbdbd); border-radius: var(--jp-border-radius, 2px);
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px);
}}
.{JOB} .jp-KonduktorJob-columns {{ padding: 4px 0; }}
.{JOB} table {{ border-collapse: collapse; margin: 0; font-size: inherit; }}
.{JOB} th, .{JOB} td {{ text-align: left; vertical-align: baseline; font-weight: normal; padding: 0 16px 0 0; }}
.{JOB} th {{ color: var(--jp-ui-font-color2, inherit); }}
.{JOB} pre {{
  margin: 4px 0; padding: 4px; max-height: 180px; overflow: auto; white-space: pre-wrap; line-height: 1.3;
  display: flex; flex-direction: column-reverse; /* it is scrolled to its end */
  color: var(--jp-content-font-color1, inherit); background: var(--jp-layout-color2, transparent);
  font-family: var(--jp-code-font-family, monospace); font-size: var(--jp-code-font-size, 13px);
}}
.{JOB} .jp-KonduktorJob-bold {{ font-weight: bold; }}
.{JOB} .jp-KonduktorJob-italic {{ font-style: italic; }}
.{JOB} .jp-KonduktorJob-underline {{ text-decoration: underline; }}
.{JOB} .jp-KonduktorJob-grid {{
  display: grid; grid-template-columns: repeat(auto-fill, 8px); gap: 2px; padding: 4px 0; max-width: 500px;
}}
.{JOB} i {{ height: 8px; box-sizing: border-box; border: 1px solid var(--jp-border-color1, #bdbdbd); }}
.{JOB} i.d {{ background: var(--jp-success-color1, #388e3c); border-color: transparent; }}
.{JOB} i.f {{ background: var(--jp-error-color1, #d32f2f); border-color: transparent; border-radius: 50%; }}
.{JOB} .jp-KonduktorJob-key {{ display: inline-block; width: 8px; margin: 0 4px 0 8px; }}
</style>"""
