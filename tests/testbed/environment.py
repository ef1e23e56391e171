"""The settings by which a notebook, or a test, submits to the cluster."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.testbed import images, objects, places


def settings(state: Path, user: str = "alice") -> dict[str, str]:
    """Environment variables for a user of the namespace `team`."""
    ours = {
        "IMAGE": images.IMAGES["3.11"].reference,
        "QUEUE": objects.QUEUE,
        "NAMESPACE": objects.TEAM,
        "STORE": f"s3://{places.S3_BUCKET}",
    }
    return {
        "KUBECONFIG": str(state / "pki" / f"{user}.kubeconfig"),
        **{f"KONDUKTOR_{name}": value for name, value in ours.items()},
        # The same as settings of the package: a notebook that is started in this shell submits to the cluster.
        "JUPYTER_KONDUKTOR_BACKEND": "kubernetes",
        **{f"JUPYTER_KONDUKTOR_{name}": value for name, value in ours.items()},
        **store(),
    }


def store() -> dict[str, str]:
    """The S3 server, which pods and this machine reach under the same address."""
    return {
        "AWS_ENDPOINT_URL": f"http://{places.BRIDGE_ADDRESS}:{places.S3_PORT}",
        "AWS_ACCESS_KEY_ID": places.S3_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": places.S3_SECRET_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }


def exports(state: Path) -> list[str]:
    """Lines for a shell."""
    return [f"export {name}={shlex.quote(value)}" for name, value in settings(state).items()]
