"""The Jupyter server's part: the extension, and thin handlers over `jupyter_konduktor.server.service`."""
