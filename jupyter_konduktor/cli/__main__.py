"""``python -m jupyter_konduktor.cli`` is ``jupyter konduktor``."""

import sys

from jupyter_konduktor.cli import main

sys.exit(main())
