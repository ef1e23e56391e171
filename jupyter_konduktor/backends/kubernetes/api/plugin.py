"""Credential plugins: programs that a kubeconfig names and that print a token or a certificate."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jupyter_konduktor.backends.kubernetes.api.contexts import Target
from jupyter_konduktor.errors import ConfigError

TIMEOUT = 30.0
"""Seconds a plugin may take."""

_GROUP = "client.authentication.k8s.io"
_VERSIONS = (f"{_GROUP}/v1", f"{_GROUP}/v1beta1")
_OUTPUT = 1 << 20
_FIELDS = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a plugin gave.

    Attributes
    ----------
    token : str
    certificate, key : str
        In PEM form; empty if it gave a token alone.
    expires : float or None
        In seconds since the epoch; None if it did not say.
    """

    token: str
    certificate: str
    key: str
    expires: float | None


def run(target: Target) -> Credential:
    """Run the plugin of a target's user, in bounded time.

    Raises
    ------
    ConfigError
        If it is not there, fails, hangs, or does not print a credential; the message names the context.
    """
    entry = target.user["exec"]
    command = entry.get("command") if isinstance(entry, dict) else None
    if not isinstance(command, str) or not command:
        raise ConfigError(f"Context {target.context!r} has an exec plugin without a command")
    about = f"The login program {command} of context {target.context!r}"
    version = entry.get("apiVersion")
    if version not in _VERSIONS:
        raise ConfigError(
            f"{about} is configured for {version!r}, which is not spoken here",
            advice=f"Have it write {_VERSIONS[0]} or {_VERSIONS[1]} into the kubeconfig.",
        )
    if entry.get("interactiveMode") == "Always":
        raise ConfigError(f"{about} needs a terminal (interactiveMode: Always), and there is none here")
    hint = str(entry.get("installHint") or "").strip()
    # A path is meant from where the kubeconfig is, a mere name is looked for.
    program = str(Path(target.folder, command)) if os.sep in command else shutil.which(command)
    if program is None:
        raise ConfigError(f"{about} is not installed", advice=hint or "Install it, or put it on the PATH.")
    environ = {**os.environ, "KUBERNETES_EXEC_INFO": json.dumps(_info(entry, target))}
    for item in entry.get("env") or ():
        environ[str(item["name"])] = str(item["value"])
    status = _status(_output([program, *map(str, entry.get("args") or ())], environ, about, hint), version, about)
    token, certificate, key = (status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData"))
    if not all(isinstance(text, str) for text in (token, certificate, key)) or bool(certificate) != bool(key):
        raise ConfigError(f"{about} printed a credential that is not whole")
    if not token and not certificate:
        raise ConfigError(f"{about} printed neither a token nor a certificate")
    return Credential(token, certificate, key, _expiry(status.get("expirationTimestamp"), about))


def _info(entry: Mapping[str, Any], target: Target) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": False}
    if entry.get("provideClusterInfo"):
        cluster = {key: target.cluster[key] for key in _FIELDS if key in target.cluster}
        if authority := target.cluster.get("certificate-authority"):
            from base64 import b64encode

            cluster["certificate-authority-data"] = b64encode(Path(authority).read_bytes()).decode()
        for extension in target.cluster.get("extensions") or ():
            if extension.get("name") == f"{_GROUP}/exec":
                cluster["config"] = extension.get("extension")
        spec["cluster"] = cluster
    return {"apiVersion": entry["apiVersion"], "kind": "ExecCredential", "spec": spec}


def _output(command: list[str], environ: Mapping[str, str], about: str, hint: str) -> bytes:
    try:
        # In a session of its own, so that it ends with everything it has started.
        process = subprocess.Popen(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"{about} cannot be run: {error.strerror}", advice=hint) from None
    try:
        text, complaint = _collect(process, about)
        code = process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise ConfigError(f"{about} closed its output and did not end") from None
    except BaseException:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except OSError:
            pass  # it ended in between
        process.wait()
        raise
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if code != 0:
        lines = [line.strip() for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
        said = f": {lines[-1][:300]}" if lines else ""
        raise ConfigError(f"{about} failed with exit code {code}{said}", advice=hint or "Log in again.")
    return text


def _collect(process: subprocess.Popen[bytes], about: str) -> tuple[bytes, bytes]:
    """Read both outputs until the end, or until it takes too long or gets too much."""
    deadline = time.monotonic() + TIMEOUT
    parts: dict[Any, bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in parts:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            # What it has left running may hold the pipes open; its own end is enough.
            ready = selector.select(min(max(left, 0), 0.5))
            if not ready and process.poll() is not None:
                break
            if left <= 0:
                raise ConfigError(
                    f"{about} did not end within {TIMEOUT:g} s",
                    advice="It may wait for a login: run a kubectl command in a terminal first.",
                )
            for item, _ in ready:
                data = os.read(item.fd, 65536)
                parts[item.fileobj] += data
                if not data:
                    selector.unregister(item.fileobj)
                if len(parts[item.fileobj]) > _OUTPUT:
                    raise ConfigError(f"{about} printed more than {_OUTPUT >> 20} MiB, which is no credential")
    text, complaint = parts.values()
    return bytes(text), bytes(complaint)


def _status(text: bytes, version: str, about: str) -> dict[str, Any]:
    # What it printed is never shown: it may hold a token.
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{about} printed something that is not JSON") from None
    if (
        not isinstance(reply, dict)
        or reply.get("kind") != "ExecCredential"
        or not isinstance(reply.get("status"), dict)
    ):
        raise ConfigError(f"{about} printed something that is not an ExecCredential with a status")
    if reply.get("apiVersion") != version:
        raise ConfigError(
            f"{about} speaks {reply.get('apiVersion')!r}, and the kubeconfig says {version!r}",
            advice="Correct apiVersion in the kubeconfig, or update the program.",
        )
    return dict(reply["status"])


def _expiry(text: object, about: str) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        raise ConfigError(f"{about} printed an expirationTimestamp that is no time: {str(text)[:40]!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
