"""Kubeconfigs: which cluster is meant, and one line for each thing that can be wrong with one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyter_konduktor.backends.kubernetes.api import contexts
from jupyter_konduktor.backends.kubernetes.api.contexts import find
from jupyter_konduktor.errors import ConfigError

CONTENT: dict[str, Any] = {
    "clusters": [
        {"name": "one", "cluster": {"server": "https://one:6443"}},
        {"name": "two", "cluster": {"server": "https://two:6443/"}},
    ],
    "users": [{"name": "ann", "user": {"token": "t"}}, {"name": "bo", "user": {"token": "b"}}],
    "contexts": [
        {"name": "first", "context": {"cluster": "one", "user": "ann", "namespace": "ns"}},
        {"name": "second", "context": {"cluster": "two", "user": "bo"}},
    ],
    "current-context": "first",
}
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi")
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(tmp_path / "config", CONTENT)


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def changed(**changes: Any) -> dict[str, Any]:
    return {**CONTENT, **changes}


def test_the_current_context_says_cluster_user_and_namespace(config: Path) -> None:
    target = find(str(config))
    assert (target.context, target.server, target.user_name) == ("first", "https://one:6443", "ann")
    assert target.namespace == "ns"
    assert find(str(config), "second").namespace == "default"
    assert find(str(config), "second").server == "https://two:6443"
    assert find(str(config), "second", "mine").namespace == "mine"


def test_the_setting_wins_over_the_variable_and_that_over_the_home_and_that_over_the_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("set", "variable", "home"):
        cluster = {"name": "c", "cluster": {"server": f"https://{name}"}}
        content = {"contexts": [{"name": name, "context": {"cluster": "c"}}], "clusters": [cluster]}
        write(tmp_path / name / ".kube" / "config", {**content, "current-context": name})
    account = tmp_path / "account"
    write(account / "token", "secret")
    write(account / "namespace", "team\n")
    monkeypatch.setattr(contexts, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    variable = {**pod, "KUBECONFIG": str(tmp_path / "variable/.kube/config")}
    assert find(str(tmp_path / "set/.kube/config"), environ=variable).context == "set"
    assert find(environ=variable).context == "variable"
    assert find(environ=pod).context == "home"
    monkeypatch.setenv("HOME", str(tmp_path))
    target = find(environ=pod)
    assert (target.context, target.server, target.namespace) == ("in-cluster", "https://10.0.0.1:443", "team")


def test_a_pod_without_a_token_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contexts, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="no service account token"):
        find(environ={"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    with pytest.raises(ConfigError, match="No cluster is configured"):
        find(environ={})


def test_several_files_are_one_and_the_first_to_say_something_stands(tmp_path: Path) -> None:
    write(tmp_path / "ca.crt", "x")
    first = write(tmp_path / "a", {"contexts": CONTENT["contexts"][:1], "current-context": "first"})
    authority = {"name": "one", "cluster": {"server": "https://mine", "certificate-authority": "../ca.crt"}}
    second = write(tmp_path / "b" / "config", changed(clusters=[authority], **{"current-context": "second"}))
    variable = os.pathsep.join([str(first), str(tmp_path / "missing"), "", str(second)])
    target = find(environ={"KUBECONFIG": variable})
    assert (target.context, target.server) == ("first", "https://mine")
    assert Path(target.cluster["certificate-authority"]).samefile(tmp_path / "ca.crt")


def test_clusters_are_told_apart_by_address_and_authority(tmp_path: Path) -> None:
    def identity(server: str, authority: str) -> str:
        cluster = {"name": "one", "cluster": {"server": server, "certificate-authority-data": authority}}
        return find(str(write(tmp_path / "x", changed(clusters=[cluster])))).cluster_id

    first = identity("https://h:1", "QUFB")
    assert first == identity("https://h:1/", "QUFB")
    assert len({first, identity("https://h:2", "QUFB"), identity("https://h:1", "QUFC")}) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("- a\n", "not a mapping"),
        ("a: [b\nc", r"line [23] is not YAML"),
        ("\x00\x01", "is not YAML"),
        (BOMB, "too many values"),
        ("a: &a [*a]\n", "too many values"),
        (changed(contexts=[]), "no current context 'first'|There is no current context 'first'"),
        (changed(**{"current-context": None}), "names no current context"),
        (changed(**{"current-context": "frist"}), "did you mean first"),
        (changed(contexts=CONTENT["contexts"] * 2), "Context 'first' is not clear: .* has 2 contexts"),
        (changed(clusters=CONTENT["clusters"] * 2), "Context 'first' is not clear: .* has 2 clusters"),
        (changed(clusters=[]), "Context 'first' means the cluster 'one'"),
        (changed(users=[]), "Context 'first' means the user 'ann'"),
        (changed(clusters={"a": 1}), "clusters in the kubeconfig .* is not a list"),
        (changed(clusters=[{"name": "one", "cluster": {}}]), "context 'first' in .* no usable server address"),
        (changed(clusters=[{"name": "one", "cluster": {"server": "one:6443"}}]), "no usable server address"),
        (changed(clusters=[{"name": "one", "cluster": {"server": "https://x:port"}}]), "no usable server address"),
        (changed(contexts=[{"name": "first", "context": {"cluster": "one", "namespace": "../x"}}]), "'../x'"),
        (
            changed(clusters=[{"name": "one", "cluster": {"server": "https://x", "certificate-authority": "no.crt"}}]),
            r"certificate-authority of context 'first': there is no file .*no\.crt",
        ),
        (changed(users=[{"name": "ann", "user": {"client-certificate-data": "%%%a"}}]), "is not base64"),
        (changed(users=[{"name": "ann", "user": "text"}]), "is not a mapping"),
    ],
)
def test_each_fault_of_a_file_is_one_clear_line(tmp_path: Path, content: Any, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConfigError, match=message) as caught:
        find(str(write(tmp_path / "config", content)))
    assert "\n" not in caught.value.message
    assert time.monotonic() - began < 3


def test_a_file_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no kubeconfig"):
        find(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="Correct the variable KUBECONFIG"):
        find(environ={"KUBECONFIG": str(tmp_path / "missing")})
    with pytest.raises(ConfigError, match="Is a directory"):
        find(str(tmp_path))
    (tmp_path / "large").write_bytes(b"#" * (9 << 20))
    with pytest.raises(ConfigError, match="larger than 8 MiB"):
        find(str(tmp_path / "large"))


def test_a_context_that_is_not_there_lists_those_that_are(config: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean second") as caught:
        find(str(config), "secnd")
    assert caught.value.advice == "It has: first, second."


def test_a_namespace_cannot_lead_to_another_path(config: Path) -> None:
    with pytest.raises(ConfigError, match="not a name"):
        find(str(config), None, "a/../b")
