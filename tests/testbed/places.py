"""Where the testbed keeps its files, and which addresses it takes."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent

# Pods reach the host, and the API server the kubelet, over one bridge of our own.
BRIDGE = "kond0"
BRIDGE_ADDRESS = "10.88.0.1"
POD_RANGE = "10.88.0.0/16"
SERVICE_RANGE = "10.89.0.0/16"
NODE = "konduktor"

API_PORT = 16443
ETCD_PORT = 12379
ETCD_PEER_PORT = 12380
ETCD_HEALTH_PORT = 12381
DNS_READY_PORT = 18181
JOBSET_HEALTH_PORT = 18446
JOBSET_WEBHOOK_PORT = 19444
KUEUE_HEALTH_PORT = 18081
KUEUE_WEBHOOK_PORT = 19443
KUEUE_VISIBILITY_PORT = 8082  # Kueue has it hard-coded
S3_PORT = 7070

# Keys of an S3 server that holds test data and listens on the bridge alone.
S3_ACCESS_KEY = "konduktor"
S3_SECRET_KEY = "konduktor-testbed"
S3_BUCKET = "store"


def able() -> bool:
    """Whether this process may make containers and a network for them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    status = Path("/proc/self/status").read_text(encoding="ascii")
    capabilities = int(next(line for line in status.splitlines() if line.startswith("CapEff")).split()[1], 16)
    return all(capabilities >> number & 1 for number in (12, 21))  # CAP_NET_ADMIN, CAP_SYS_ADMIN


def home() -> Path:
    """The user's own home: a test session has a private one, and names the real one in this variable."""
    return Path(os.environ.get("KONDUKTOR_TEST_HOME") or Path.home())


def user_cache() -> Path:
    """The user's own cache folder."""
    real = os.environ.get("KONDUKTOR_TEST_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(real) if real else home() / ".cache"


def cache() -> Path:
    """What is built or downloaded once and kept."""
    return user_cache() / "jupyter_konduktor" / "testbed"


def default_state() -> Path:
    """Where the one cluster of this machine lives; containers need a real disk, so not /run."""
    return Path(os.environ.get("KONDUKTOR_TEST_STATE") or "/var/lib/konduktor-testbed")


def lock(state: Path) -> Path:
    """The file that is locked while a cluster comes up or goes down."""
    return Path("/run") / f"{state.name}.lock"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock, so that two commands do not do the same at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
