"""Settings: each place is read, the nearer one wins, and what is wrong is named with its file and line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_konduktor import config, session
from jupyter_konduktor.config import KEYS, Settings
from jupyter_konduktor.errors import ConfigError


class Places:
    """A project, a user's file and an environment of their own."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "work" / "pyproject.toml"
        self.user = folder / "user.yaml"
        self.cwd = folder / "work" / "deep" / "er"
        self.cwd.mkdir(parents=True)
        self.environ: dict[str, str] = {"HOME": str(folder)}

    def load(self, call: dict[str, object] | None = None, **options: object) -> Settings:
        if self.user.exists():
            self.environ["KONDUKTOR_CONFIG"] = str(self.user)
        return Settings.load(call, environ=self.environ, cwd=self.cwd, **options)  # type: ignore[arg-type]


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    monkeypatch.setenv("HOME", str(tmp_path))
    yield Places(tmp_path)
    for key in KEYS:
        config.set_session(key, None)


def test_defaults_need_nothing(places: Places) -> None:
    settings = places.load()
    found = (settings.backend, settings.queue, settings.unpickle, settings.max_output)
    assert found == ("local", None, "trusted", 2**30)
    assert {source for _, _, source in settings.explain()} == {"default"}


def test_the_nearer_place_wins(places: Places) -> None:
    """Each place is added under the one before it, and the value follows the nearest that is left."""
    places.user.write_text("jupyter:\n  queue: from-user\n")
    assert places.load().queue == "from-user"
    places.project.write_text('[tool.konduktor]\nqueue = "from-project"\n')
    assert places.load().queue == "from-project"
    places.environ["JUPYTER_KONDUKTOR_QUEUE"] = "from-environment"
    assert places.load().queue == "from-environment"
    config.set_session("queue", "from-session")
    assert places.load().queue == "from-session"
    extra = places.cwd / "extra.yaml"
    extra.write_text("jupyter: {queue: from-file}\n")
    assert places.load(file=extra).queue == "from-file"
    assert places.load({"queue": "from-call"}, file=extra).queue == "from-call"
    assert places.load({"queue": None}).queue == "from-session", "None in a call says nothing"
    config.set_session("queue", None)
    assert places.load().queue == "from-environment"


def test_every_value_names_its_source(places: Places) -> None:
    places.user.write_text("# mine\n\njupyter:\n  image: python:3.12\n")
    places.project.write_text('[project]\nname = "x"\n\n[tool.konduktor]\n\ncpus = 2\n[tool.konduktor.env]\nA = "1"\n')
    places.environ["JUPYTER_KONDUKTOR_QUIET"] = "yes"
    config.set_session("gpus", "H100:8")
    config.set_session("pod_config", {"spec": {"hostNetwork": True}})
    settings = places.load({"nodes": 2})
    assert settings.source("image") == f"user {places.user}:4"
    assert settings.source("cpus") == f"project {places.project}:6"
    assert settings.source("env") == f"project {places.project}:7"
    assert settings.source("quiet") == "environment JUPYTER_KONDUKTOR_QUIET"
    assert settings.source("gpus") == "%config"
    assert settings.source("nodes") == "call"
    assert settings.source("queue") == "default"
    rows = {key: (value, source) for key, value, source in settings.explain()}
    assert set(rows) == set(KEYS)
    assert rows["max_output"] == ("1Gi", "default")
    assert rows["pod_config"] == ('{"spec": {"hostNetwork": true}}', "%config"), "as the variable takes it"
    assert rows["env"][0] == "A=...", "values of environment variables are not shown"


def test_environment_variables_and_allowed_secrets_add_up(places: Places) -> None:
    places.project.write_text('[tool.konduktor]\nenv = {A = "project", B = "project"}\nallow_secrets = ["ONE"]\n')
    places.environ["JUPYTER_KONDUKTOR_ENV"] = 'B=environment C="two words"'
    settings = places.load({"env": {"C": "call"}, "allow_secrets": ("TWO",)})
    assert settings.env == {"A": "project", "B": "environment", "C": "call"}
    assert settings.allow_secrets == ("ONE", "TWO")
    assert settings.source("env") == f"call + environment JUPYTER_KONDUKTOR_ENV + project {places.project}:2"


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ('"data:/data"', {"data": "/data"}),
        ('"data:/data models:/models"', {"data": "/data", "models": "/models"}),
        ('["data:/data", "models:/my models"]', {"data": "/data", "models": "/my models"}),
        ('{data = "/data", models = "/models"}', {"data": "/data", "models": "/models"}),
    ],
)
def test_volumes_are_written_as_the_option_is_or_as_a_table(
    places: Places, written: str, found: dict[str, str]
) -> None:
    places.project.write_text(f"[tool.konduktor]\nvolumes = {written}\n")
    settings = places.load()
    assert settings.volumes == found
    shown = dict(row[:2] for row in settings.explain())["volumes"]
    places.project.unlink()
    places.environ["JUPYTER_KONDUKTOR_VOLUMES"] = shown
    assert places.load().volumes == found, "what is shown is what the variable takes"


def test_volumes_add_up_and_a_call_has_its_way(places: Places) -> None:
    places.user.write_text("jupyter:\n  volumes: {shared: /shared, data: /old}\n")
    places.project.write_text('[tool.konduktor]\nvolumes = ["data:/data"]\n')
    settings = places.load()
    assert settings.volumes == {"shared": "/shared", "data": "/data"}
    assert session.make_task("cell", {}, settings).volumes == settings.volumes

    def of_call(*volumes: str) -> object:
        return session.make_task("function", {"volumes": volumes}, settings).volumes

    assert of_call("more:/more") == {"shared": "/shared", "data": "/data", "more": "/more"}
    assert of_call("data:/elsewhere") == {"shared": "/shared", "data": "/elsewhere"}
    assert of_call("mine:/shared/") == {"data": "/data", "mine": "/shared/"}, "there is room for one at a place"


def test_an_empty_environment_variable_is_not_set(places: Places) -> None:
    places.environ["JUPYTER_KONDUKTOR_QUEUE"] = ""
    assert places.load().source("queue") == "default"


def test_the_users_file_is_found_without_being_named(places: Places, tmp_path: Path) -> None:
    (tmp_path / ".konduktor").mkdir()
    (tmp_path / ".konduktor" / "config.yaml").write_text("jupyter:\n  queue: mine\n")
    assert places.load().queue == "mine"


def test_a_file_that_changed_is_read_again(places: Places) -> None:
    places.project.write_text('[tool.konduktor]\nqueue = "one"\n')
    assert places.load().queue == "one"
    places.project.write_text('[tool.konduktor]\nqueue = "three"\n')
    assert places.load().queue == "three"


def test_only_the_nearest_project_counts(places: Places) -> None:
    places.project.write_text('[tool.konduktor]\nqueue = "outer"\n')
    (places.cwd.parent / "pyproject.toml").write_text('[tool.konduktor]\nimage = "python:3.12"\n')
    settings = places.load()
    assert (settings.queue, settings.image) == (None, "python:3.12")


def test_konduktors_own_file_is_understood(places: Places) -> None:
    places.user.write_text(
        "allowed_clouds: [gs]\n"
        "kubernetes:\n"
        "  allowed_contexts: [gke_prod]\n"
        "  provision_timeout: 600\n"
        "  autoscaler: gke\n"
        "  some_new_key_of_theirs: 1\n"
        "  pod_config: {spec: {runtimeClassName: nvidia}}\n"
        "jobs: {bucket: gs://b}\nlogs: {backend: victoria, timeout: 60}\nhub: {url: x}\ntailscale: {secret_name: t}\n"
        "ssh: {enable: true}\napt: {skip: true}\nserving: {backend: x}\nnvidia_gpus: {}\nadmin_policy: x.y\n"
    )
    settings = places.load()
    assert settings.context == "gke_prod"
    assert settings.source("context") == f"user {places.user}:3 kubernetes.allowed_contexts"
    assert settings.pod_config == {"spec": {"runtimeClassName": "nvidia"}}
    places.user.write_text(places.user.read_text() + "jupyter:\n  context: other\n")
    assert places.load().context == "other", "our own key wins over theirs"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("jupyter:\n  queu: x\n", ":2) is not a setting; did you mean queue?"),
        ("jupyter: {max-restarts: 1}\n", "did you mean max_restarts?"),
        ("\nqueue: x\n", ":2) belongs into the section `jupyter:`"),
        ("kubernets: {}\n", ":1) is not a setting; did you mean kubernetes?"),
        ("kubernetes:\n  allowed_context: [a]\n", "did you mean allowed_contexts?"),
        ("kubernetes:\n  allowed_contexts: [a, b]\n", "must be a list with one context"),
        ("kubernetes: [1]\n", "must be a mapping"),
        ("jupyter: 3\n", "must be a mapping"),
        ("- a\n", "must be a mapping"),
        ("jupyter:\n  queue: [\n", "is not valid YAML"),
        ("jupyter:\n  cpus: [1]\n", ":2)"),
        ("jupyter:\n  unpickle: newer\n", "must be trusted or never; did you mean never?"),
        ("jupyter:\n  max_output: 1 bag\n", "must be a size such as 1048576, 100Mi or 2G"),
        ("jupyter:\n  quiet: maybe\n", "must be true or false"),
        ("jupyter:\n  keep_days: -1\n", "must be a number above 0"),
        ("jupyter:\n  allow_secrets: {a: b}\n", "must be a list"),
        ("jupyter:\n  pod_config: hello\n", "must be a table"),
        ("jupyter:\n  grace: soon\n", "grace is a number of seconds above 0"),
        ("jupyter:\n  gpus: H100:0\n", "gpus is KIND:COUNT"),
        ("jupyter:\n  volumes: [data]\n", "volume is CLAIM:/path, the path absolute"),
        ("jupyter:\n  volumes: 3\n", "volume is CLAIM:/path, the path absolute"),
        ("jupyter:\n  volumes: {data: data}\n", "volume is CLAIM:/path, the path absolute"),
    ],
)
def test_a_bad_user_file_is_named_with_its_line(places: Places, content: str, message: str) -> None:
    places.user.write_text(content)
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert message in str(caught.value)
    assert str(places.user) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[tool.konduktor]\n\nqueu = 'x'\n", "pyproject.toml:3) is not a setting; did you mean queue?"),
        ("[tool.konduktor]\ngpus = 0\n", "pyproject.toml:2)"),
        ("[tool.konduktor\n", "is not valid TOML"),
        ("[tool]\nkonduktor = 1\n", "must be a table"),
        ("[tool.konduktor]\nenv = {KONDUKTOR_X = '1'}\n", "the job's own"),
    ],
)
def test_a_bad_project_file_is_named_with_its_line(places: Places, content: str, message: str) -> None:
    places.project.write_text(content)
    with pytest.raises(ConfigError) as caught:
        places.load()
    assert message in str(caught.value)


def test_a_misspelled_environment_variable_is_an_error(places: Places) -> None:
    places.environ["JUPYTER_KONDUKTOR_BACKND"] = "local"
    with pytest.raises(ConfigError, match="did you mean JUPYTER_KONDUKTOR_BACKEND"):
        places.load()


def test_a_misspelled_call_is_an_error(places: Places) -> None:
    with pytest.raises(ConfigError, match=r"quue is not a setting; did you mean queue"):
        places.load({"quue": "x"})


def test_a_named_file_must_be_there_and_readable(places: Places, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no settings file"):
        places.load(file=tmp_path / "absent.yaml")
    places.environ["KONDUKTOR_CONFIG"] = str(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="there is no settings file"):
        places.load()
    places.environ["KONDUKTOR_CONFIG"] = str(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        places.load()
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"jupyter: {queue: caf\xe9}")
    places.environ["KONDUKTOR_CONFIG"] = str(latin)
    with pytest.raises(ConfigError, match="is not UTF-8"):
        places.load()


def test_an_empty_file_says_nothing(places: Places) -> None:
    places.user.write_text("# nothing\n")
    assert places.load() == Settings()


def test_paths_in_a_file_begin_at_the_file(places: Places, tmp_path: Path) -> None:
    places.project.write_text('[tool.konduktor]\nlocal_dir = "jobs"\nkubeconfig = "~/kube"\n')
    settings = places.load()
    assert settings.local_dir == str(places.project.parent / "jobs")
    assert settings.kubeconfig == str(tmp_path / "kube")
    assert places.load({"local_dir": "here"}).local_dir == "here"


def test_a_bad_session_value_changes_nothing(places: Places) -> None:
    config.set_session("nodes", 2)
    with pytest.raises(ConfigError, match="nodes is a whole number"):
        config.set_session("nodes", "many")
    assert places.load().nodes == 2


@pytest.mark.parametrize(
    ("written", "value"),
    [("100Mi", 100 << 20), ("1.5G", 1_500_000_000), ("64 KiB", 65536), ("10", 10), (7, 7), ("2gb", 2 * 10**9)],
)
def test_sizes_are_read_with_their_units(places: Places, written: object, value: int) -> None:
    assert places.load({"warn_input": written}).warn_input == value


def test_import_reads_no_file(tmp_path: Path) -> None:
    """A broken user file must not break the import, which Konduktor's own client does."""
    (tmp_path / "broken.yaml").write_text("jupyter: [")
    code = "import jupyter_konduktor.config, sys; assert 'yaml' not in sys.modules"
    environ = {**os.environ, "KONDUKTOR_CONFIG": str(tmp_path / "broken.yaml")}
    subprocess.run([sys.executable, "-c", code], env=environ, check=True, cwd=Path(__file__).parents[2])
