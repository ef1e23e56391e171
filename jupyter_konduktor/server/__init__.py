"""The part that runs in the Jupyter server: what every job does, told to JupyterLab over a few routes."""
