"""Certificates of the cluster, made with openssl.

All are valid from a day ago on, so that a client whose clock is behind can still talk to the cluster.
"""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import time
from pathlib import Path

from tests.testbed.places import API_PORT, BRIDGE_ADDRESS, NODE, locked

SERVER_NAMES = (
    "DNS:localhost,IP:127.0.0.1,"
    f"IP:{BRIDGE_ADDRESS},DNS:{NODE},DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,"
    "DNS:kubernetes.default.svc.cluster.local,DNS:visibility-server.kueue-system.svc"
)
LENIENCY = 60
CONFIG = """
[ca]
default_ca = default
[default]
database = {place}/index
new_certs_dir = {place}/issued
rand_serial = yes
unique_subject = no
default_md = sha256
policy = policy
copy_extensions = none
[policy]
commonName = supplied
organizationName = optional
[req]
distinguished_name = name
prompt = no
[name]
"""


class Authority:
    """One certificate authority, and the folder that holds all it has signed."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @property
    def certificate(self) -> Path:
        """The authority's own certificate."""
        return self.place / "ca.crt"

    def make(self) -> None:
        """Make the authority and the certificates of the cluster's parts."""
        self.place.mkdir(mode=0o700, parents=True)
        (self.place / "issued").mkdir()
        (self.place / "index").touch()
        (self.place / "openssl.cnf").write_text(CONFIG.format(place=self.place))
        authority = (
            "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash"
        )
        self._issue("ca", "/CN=konduktor-testbed", authority, selfsigned=True)
        self.server("server")
        self.client("admin", "admin", "system:masters")
        self.client("front-proxy", "front-proxy-client")
        # The key that signs tokens is RSA, for then a test can sign one that expires in seconds.
        _run("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", self.place / "accounts.key")
        _run("rsa", "-in", self.place / "accounts.key", "-pubout", "-out", self.place / "accounts.pub")

    def server(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of a server on this machine."""
        usage = f"extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName={SERVER_NAMES}"
        return self._issue(name, f"/CN={name}", usage)

    def client(self, file: str, user: str, group: str = "") -> tuple[Path, Path]:
        """Certificate and key of a user; the group is what Kubernetes reads from the organisation."""
        return self._issue(file, (f"/O={group}" if group else "") + f"/CN={user}", "extendedKeyUsage=clientAuth")

    def _issue(self, name: str, subject: str, extensions: str, *, selfsigned: bool = False) -> tuple[Path, Path]:
        certificate, key, request = (self.place / f"{name}.{end}" for end in ("crt", "key", "csr"))
        config = self.place / "openssl.cnf"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        _run("req", "-new", "-config", config, *curve, "-subj", subject, "-keyout", key, "-out", request)
        extension_file = self.place / f"{name}.ext"
        extension_file.write_text(extensions)
        now = datetime.datetime.now(datetime.UTC)
        start, end = (f"{now + datetime.timedelta(days=days):%Y%m%d%H%M%SZ}" for days in (-1, 3650))
        signer = (
            ("-selfsign", "-keyfile", key)
            if selfsigned
            else ("-cert", self.certificate, "-keyfile", self.place / "ca.key")
        )
        with locked(self.place / "lock"):
            _run(
                *("ca", "-batch", "-notext", "-config", config, *signer, "-in", request, "-out", certificate),
                *("-startdate", start, "-enddate", end, "-extfile", extension_file),
            )
        key.chmod(0o600)
        return certificate, key

    def kubeconfig(self, file: str, namespace: str = "default") -> Path:
        """A kubeconfig of a user who has a certificate, with everything in it."""
        certificate, key, path = (self.place / f"{file}.{end}" for end in ("crt", "key", "kubeconfig"))
        user = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
        return write_kubeconfig(path, f"https://127.0.0.1:{API_PORT}", self.certificate, user, file, namespace)

    def sign_token(self, claims: dict[str, object]) -> str:
        """A token signed as the API server signs its own, with any lifetime: itself it grants ten minutes and more."""
        kid = _token_key_id(self.place / "accounts.pub")
        parts = ({"alg": "RS256", "kid": kid}, claims)
        signed = b".".join(_url(json.dumps(part).encode()) for part in parts)
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.place / "accounts.key")]
        signature = subprocess.run(command, input=signed, capture_output=True, check=True).stdout
        return (signed + b"." + _url(signature)).decode()


def write_kubeconfig(path: Path, server: str, authority: Path, user: dict[str, str], name: str, namespace: str) -> Path:
    """Write a kubeconfig with one context; JSON is YAML."""
    cluster = {"server": server, "certificate-authority-data": _base64(authority)}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": "testbed", "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))
    return path


def claims(namespace: str, account: str, uid: str, issuer: str, seconds: float) -> dict[str, object]:
    """What the API server writes into the token of a service account, for one that it takes for so long."""
    # It is lenient by a minute, and remembers for ten seconds more that a token was good.
    end = int(time.time() + seconds) - LENIENCY
    return {
        "iss": issuer,
        "aud": [issuer],
        "sub": f"system:serviceaccount:{namespace}:{account}",
        "iat": end - 3600,
        "nbf": end - 3600,
        "exp": end,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": account, "uid": uid}},
    }


def _token_key_id(public: Path) -> str:
    """The id the API server gives to a key: the SHA-256 of its DER form."""
    der = subprocess.run(
        ["openssl", "rsa", "-pubin", "-in", public, "-outform", "DER"], capture_output=True, check=True
    )
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-binary"], input=der.stdout, capture_output=True, check=True
    )
    return _url(digest.stdout).decode()


def _url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _run(*command: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        message = f"openssl {' '.join(map(str, command))} failed:\n{done.stderr}"
        raise RuntimeError(message)
