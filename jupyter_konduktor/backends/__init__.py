"""Places where jobs run, each behind `jupyter_konduktor.backends.protocol.Backend`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # the supervisor of a local job comes through here and has no time for typing
    from jupyter_konduktor.backends.protocol import Backend
    from jupyter_konduktor.config import Settings

NAMES = ("local", "kubernetes")


def get_backend(name: str, settings: Settings) -> Backend:
    """Make the backend of a name; its module is imported only now.

    Raises
    ------
    ConfigError
        If there is no backend of that name.
    """
    if name == "local":
        from jupyter_konduktor.backends.local.backend import LocalBackend

        return LocalBackend.from_settings(settings)
    if name == "kubernetes":
        from jupyter_konduktor.backends.kubernetes.backend import KubernetesBackend

        return KubernetesBackend(settings)
    from jupyter_konduktor.errors import ConfigError

    raise ConfigError(f"there is no backend {name!r}", advice=f"Backends: {', '.join(NAMES)}.")
