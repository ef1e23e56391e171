"""From a task to the JobSet that runs it: pure, without a cluster or a clock.

`build` makes the JobSet of an `Order`; all else here are its parts.
"""

from __future__ import annotations

from jupyter_konduktor.backends.kubernetes.sending.manifest.identity import User
from jupyter_konduktor.backends.kubernetes.sending.manifest.jobset import build, template_of
from jupyter_konduktor.backends.kubernetes.sending.manifest.order import Delivery, Order

__all__ = ["Delivery", "Order", "User", "build", "template_of"]
