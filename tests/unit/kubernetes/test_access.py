"""Credentials and connections: plugins, tokens, certificates and proxies, each with what can be wrong with it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_konduktor.backends.kubernetes.api import client as clients
from jupyter_konduktor.backends.kubernetes.api import contexts, plugin
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.api.kubeconfig import proxy_of
from jupyter_konduktor.errors import ApiError, ConfigError, UnreachableError
from tests.unit.kubernetes.server import Answer, Server, certificate, expired_certificate, secure
from tests.unit.kubernetes.server import kubeconfig as write

V1 = "client.authentication.k8s.io/v1"
REFUSED = Answer(401, {"kind": "Status", "code": 401, "reason": "Unauthorized", "message": "Unauthorized"})


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def login(place: Path, script: str, version: str = V1, **more: Any) -> dict[str, Any]:
    """A user with a plugin that runs a shell script."""
    path = place / "login"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return {"exec": {"apiVersion": version, "command": str(path), "interactiveMode": "Never", **more}}


def credential(version: str = V1, **status: Any) -> str:
    text = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
    return f"cat <<'EOF'\n{text}\nEOF"


def authorization(server: Server) -> list[str]:
    return [headers.get("Authorization", "") for _, _, headers in server.requests]


def connect(place: Path, server: Server | str, **parts: Any) -> Client:
    url = server if isinstance(server, str) else server.url
    return Client.connect(kubeconfig=write(place / "config", url, **parts))


# --- credentials


def test_a_token_and_a_name_with_password_are_sent(tmp_path: Path, server: Server) -> None:
    connect(tmp_path, server, user={"token": "abc"}).get("/x")
    connect(tmp_path, server, user={"username": "u", "password": "p"}).get("/x")
    assert authorization(server) == ["Bearer abc", "Basic " + base64.b64encode(b"u:p").decode()]


def test_who_is_impersonated_is_sent(tmp_path: Path, server: Server) -> None:
    connect(tmp_path, server, user={"token": "abc", "as": "other", "as-groups": ["g"]}).get("/x")
    headers = server.requests[0][2]
    assert (headers["Impersonate-User"], headers["Impersonate-Group"]) == ("other", "g")


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_plugin_gives_a_token(tmp_path: Path, server: Server, version: str) -> None:
    full = f"client.authentication.k8s.io/{version}"
    told = f'echo "$KUBERNETES_EXEC_INFO $SPECIAL $1" > {tmp_path}/info\n'
    user = login(tmp_path, told + credential(full, token="abc"), full)
    user["exec"].update(env=[{"name": "SPECIAL", "value": "yes"}], args=["arg"], provideClusterInfo=True)
    connect(tmp_path, server, user=user).get("/x")
    info = (tmp_path / "info").read_text()
    assert authorization(server) == ["Bearer abc"]
    assert f'"apiVersion": "{full}"' in info
    assert server.url in info
    assert info.endswith("yes arg\n")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo garbage", "printed something that is not JSON"),
        ("echo '{}'", "not an ExecCredential"),
        (credential(), "neither a token nor a certificate"),
        (credential(clientCertificateData="x"), "not whole"),
        (credential("client.authentication.k8s.io/v1beta1", token="x"), "speaks .*v1beta1"),
        (credential(token="x", expirationTimestamp="soon"), "is no time"),
        (credential(token="x\ny"), "characters that no token has"),
        ("echo 'you are logged out' >&2; exit 3", "exit code 3: you are logged out"),
        ("sleep 60", "did not end within 0.5 s"),
        ("sleep 60 & exec >&- 2>&-; sleep 60", "did not end|closed its output"),
        ("yes", "more than 1 MiB"),
    ],
)
def test_each_fault_of_a_plugin_is_one_line_with_the_context(
    tmp_path: Path, script: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "TIMEOUT", 0.5)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        connect(tmp_path, "http://127.0.0.1:1", user=login(tmp_path, script))
    assert "'here'" in caught.value.message
    assert "\n" not in caught.value.message
    assert time.monotonic() - began < 5


def test_a_plugin_that_is_missing_says_how_it_is_installed(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": V1, "command": "no-such-login", "installHint": "brew install it"}}
    with pytest.raises(ConfigError, match="no-such-login of context 'here' is not installed") as caught:
        connect(tmp_path, "http://127.0.0.1:1", user=user)
    assert caught.value.advice == "brew install it"
    user["exec"].update(command="sh", apiVersion="client.authentication.k8s.io/v1alpha1")
    with pytest.raises(ConfigError, match="v1alpha1"):
        connect(tmp_path, "http://127.0.0.1:1", user=user)


def test_a_plugin_runs_again_before_its_token_expires_and_not_before(tmp_path: Path, server: Server) -> None:
    count = f"echo x >> {tmp_path}/runs; n=$(wc -l < {tmp_path}/runs)"
    body = credential(token="t$n", expirationTimestamp="2099-01-01T00:00:00Z").replace("'EOF'", "EOF")
    client = connect(tmp_path, server, user=login(tmp_path, f"{count}\n{body}"))
    client.get("/x")
    client.get("/x")
    client._access._due = time.time() - 1
    client.get("/x")
    assert authorization(server) == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_token_that_is_refused_is_renewed_once(tmp_path: Path, server: Server) -> None:
    body = credential(token="t$n").replace("'EOF'", "EOF")
    user = login(tmp_path, f"echo x >> {tmp_path}/runs; n=$(wc -l < {tmp_path}/runs)\n{body}")
    client = connect(tmp_path, server, user=user)
    server.answers = [REFUSED]
    assert client.post("/x", {}).status == 200
    assert authorization(server) == ["Bearer t1", "Bearer t2"]
    server.answers = [REFUSED, REFUSED]
    with pytest.raises(ApiError, match="does not accept the credentials of context 'here'") as caught:
        client.get("/x")
    assert caught.value.status == 401
    assert len(server.requests) == 3  # its program has run a moment ago


def test_what_a_login_writes_into_the_kubeconfig_is_used_without_a_restart(tmp_path: Path, server: Server) -> None:
    client = connect(tmp_path, server, user={"token": "old"})
    client.get("/x")
    write(tmp_path / "config", server.url, user={"token": "new"})
    server.answers = [REFUSED]
    client.get("/x")
    assert authorization(server) == ["Bearer old", "Bearer old", "Bearer new"]
    with client.stream("/x", read_timeout=5) as stream:
        server.answers = [REFUSED]
        assert b"Thing" in b"".join(stream)


def test_a_token_file_is_read_again(tmp_path: Path, server: Server) -> None:
    token = tmp_path / "token"
    token.write_text("one\n")
    client = connect(tmp_path, server, user={"tokenFile": "token"})
    client.get("/x")
    token.write_text("two\n")
    client._access._due = time.time() - 1
    client.get("/x")
    token.unlink()  # as for a moment while it is replaced
    client._access._due = time.time() - 1
    client.get("/x")
    assert authorization(server) == ["Bearer one", "Bearer two", "Bearer two"]
    token.write_text("")
    with pytest.raises(ConfigError, match="is empty"):
        connect(tmp_path, server, user={"tokenFile": "token"})


def test_credentials_are_not_sent_for_all_to_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'here' is http://example\.com: credentials are not sent without TLS"):
        connect(tmp_path, "http://example.com", user={"token": "abc"})


# --- TLS


@pytest.mark.needs("program:openssl")
class TestTls:
    @pytest.fixture
    def pair(self, tmp_path: Path) -> tuple[Path, Path]:
        return certificate(tmp_path, "server")

    @pytest.fixture
    def server(self, pair: tuple[Path, Path]) -> Iterator[Server]:
        made = Server(secure(pair))
        yield made
        made.close()

    @pytest.fixture(autouse=True)
    def _no_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clients, "PATIENCE", 0.2)

    def test_a_server_is_trusted_by_its_authority(self, tmp_path: Path, server: Server) -> None:
        client = connect(tmp_path, server, cluster={"certificate-authority": "server.crt"}, user={"token": "abc"})
        client.get("/x")
        assert authorization(server) == ["Bearer abc"]

    def test_a_server_of_another_authority_is_not(self, tmp_path: Path, server: Server) -> None:
        certificate(tmp_path, "other")
        client = connect(tmp_path, server, cluster={"certificate-authority": "other.crt"})
        with pytest.raises(
            UnreachableError, match=r"context 'here' .* has a certificate that is not accepted"
        ) as caught:
            client.get("/x")
        assert "certificate-authority" in caught.value.advice

    def test_a_server_of_another_name_is_not(self, tmp_path: Path) -> None:
        elsewhere = Server(secure(certificate(tmp_path, "elsewhere", address="10.1.2.3")))
        client = connect(tmp_path, elsewhere, cluster={"certificate-authority": "elsewhere.crt"})
        with pytest.raises(UnreachableError, match="mismatch") as caught:
            client.get("/x")
        assert "tls-server-name" in caught.value.advice
        connect(
            tmp_path, elsewhere, cluster={"certificate-authority": "elsewhere.crt", "tls-server-name": "10.1.2.3"}
        ).get("/x")
        connect(tmp_path, elsewhere, cluster={"insecure-skip-tls-verify": True}).get("/x")
        elsewhere.close()

    def test_an_authority_that_is_none_is_an_error_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "bad.crt").write_text("garbage")
        for cluster in (
            {"certificate-authority": "bad.crt"},
            {"certificate-authority-data": base64.b64encode(b"garbage").decode()},
        ):
            with pytest.raises(ConfigError, match="authority of context 'here' is not a certificate"):
                connect(tmp_path, "https://127.0.0.1:1", cluster=cluster)

    def test_a_certificate_and_a_key_that_are_no_pair_are_an_error_at_once(self, tmp_path: Path) -> None:
        certificate(tmp_path, "a")
        certificate(tmp_path, "b")
        with pytest.raises(ConfigError, match="client certificate of context 'here'"):
            connect(tmp_path, "https://127.0.0.1:1", user={"client-certificate": "a.crt", "client-key": "b.key"})
        subprocess.run(
            ["openssl", "ec", "-in", tmp_path / "a.key", "-aes128", "-passout", "pass:x", "-out", tmp_path / "locked"],
            check=True,
            capture_output=True,
        )
        with pytest.raises(ConfigError, match="client certificate of context 'here'"):
            connect(tmp_path, "https://127.0.0.1:1", user={"client-certificate": "a.crt", "client-key": "locked"})

    def test_a_certificate_that_has_expired_is_named(self, tmp_path: Path, server: Server) -> None:
        expired_certificate(tmp_path, "old")
        client = connect(
            tmp_path,
            server,
            cluster={"certificate-authority": "server.crt"},
            user={"client-certificate": "old.crt", "client-key": "old.key"},
        )
        server.answers = [REFUSED, REFUSED]
        with pytest.raises(ApiError, match="its client certificate expired on 2021-01-01"):
            client.get("/x")

    def test_no_key_is_left_on_the_disk(self, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        crt, key = certificate(tmp_path, "me")
        data = {
            "client-certificate-data": base64.b64encode(crt.read_bytes()).decode(),
            "client-key-data": base64.b64encode(key.read_bytes()).decode(),
        }
        connect(tmp_path, server, cluster={"certificate-authority": "server.crt"}, user=data).get("/x")
        assert list(temporary.iterdir()) == []

    def test_speaking_tls_where_there_is_none_and_the_other_way_round_is_said(
        self, tmp_path: Path, server: Server
    ) -> None:
        plain = Server()
        with pytest.raises(UnreachableError, match=r"context 'here'.* does not speak TLS|broke"):
            connect(tmp_path, plain.url.replace("http", "https")).get("/x")
        plain.answers = [Answer(400, b"Client sent an HTTP request to an HTTPS server.\n")]
        with pytest.raises(UnreachableError, match=r"context 'here' .* wants TLS"):
            connect(tmp_path, plain).get("/x")
        plain.close()

    def test_a_pod_uses_its_service_account_and_reads_its_token_again(
        self, tmp_path: Path, server: Server, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = tmp_path / "account"
        account.mkdir()
        (account / "token").write_text("first")
        (account / "namespace").write_text("team")
        (account / "ca.crt").write_bytes(pair[0].read_bytes())
        from kubernetes.config import incluster_config

        monkeypatch.setattr(contexts, "SERVICE_ACCOUNT", account)
        monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(account / "token"))
        monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(account / "ca.crt"))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        client = Client.connect()
        client.get("/x")
        (account / "token").write_text("second")
        server.answers = [REFUSED]
        client.get("/x")
        assert client.namespace == "team"
        assert [text.lower() for text in authorization(server)] == ["bearer first", "bearer first", "bearer second"]

    def test_the_proxy_of_a_kubeconfig_is_used(self, tmp_path: Path, server: Server) -> None:
        proxy = Server()
        cluster = {"certificate-authority": "server.crt", "proxy-url": proxy.url}
        client = connect(tmp_path, server, cluster=cluster, user={"token": "abc"})
        client.get("/x")
        assert proxy.tunnels == [f"127.0.0.1:{server.port}"]
        assert authorization(server) == ["Bearer abc"]
        proxy.close()


@pytest.mark.parametrize(
    ("server", "environ", "proxy"),
    [
        ("https://api.example.com:6443", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://api.example.com:6443", {"https_proxy": "p:1", "HTTPS_PROXY": "q:1"}, "http://p:1"),
        ("https://api.example.com:6443", {"HTTP_PROXY": "http://p:1"}, None),
        ("https://api.example.com:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a, .example.com"}, None),
        ("https://api.example.com:6443", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com:443"}, "http://p:1"),
        ("https://api.example.com:6443", {"HTTPS_PROXY": "http://p:1", "no_proxy": "api.example.com:6443"}, None),
        ("https://notexample.com", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, "http://p:1"),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("https://10.1.2.3", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://p:1"}, None),
    ],
)
def test_the_environments_proxy_is_used_unless_the_server_is_excepted(
    server: str, environ: dict[str, str], proxy: str | None
) -> None:
    target = contexts.Target("here", "default", server, {}, "", {}, "", "file")
    assert proxy_of(target, environ) == proxy


def test_importing_the_client_imports_neither_kubernetes_nor_urllib3() -> None:
    code = "import sys, jupyter_konduktor.backends.kubernetes.api.reflector; print(*sys.modules)"
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert {"kubernetes", "urllib3", "ssl", "yaml"}.isdisjoint(run.stdout.split())
