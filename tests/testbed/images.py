"""Container images made of Debian packages, without a registry.

A layer is a set of packages with all they need, as apt resolves it against an empty system, written straight from the
packages into a tar file. Nothing of a package is run: what its scripts would have linked is linked here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.places import cache, locked

PREFIX = "localhost/konduktor-test"
PAUSE = f"{PREFIX}/pause:1"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MERGED = ("bin", "sbin", "lib", "lib64")
SKIPPED = re.compile(
    r"usr/share/(doc|man|info|locale|lintian|bug|zoneinfo|perl5?|bash-completion)/|usr/share/python3/.*\.pyc$"
    r"|usr/lib/python3/dist-packages/torch/(bin/(?!torch_shm_manager)|include/|test/)"
)
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000:user:/home/user:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
ALTERNATIVES = {
    "usr/lib/{triplet}/libblas.so.3": "blas/libblas.so.3",
    "usr/lib/{triplet}/liblapack.so.3": "lapack/liblapack.so.3",
}
TRIPLETS = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
VERSION = 1  # of what this module makes out of packages


@dataclass(frozen=True)
class Image:
    """One image: its name, the release its packages are from, and the packages of each layer above the last.

    What is named in `without` is left out although a package asks for it.
    """

    name: str
    release: str
    layers: tuple[tuple[str, ...], ...]
    command: tuple[str, ...] = ("/bin/sh",)
    without: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """The name that a pod spec has."""
        return f"{PREFIX}/{self.name}"


SHELL = ("bash", "busybox-static", "coreutils")
PYTHON = (*SHELL, "python3", "libpython3.11-stdlib")
IMAGES = {
    "3.11": Image("python:3.11", "bookworm", (PYTHON,)),
    "3.11-numpy": Image("python:3.11-numpy", "bookworm", (PYTHON, ("python3-numpy",))),
    "3.13": Image("python:3.13", "trixie", ((*SHELL, "python3", "libpython3.13-stdlib"),)),
    "none": Image("busybox:1", "bookworm", (("busybox-static",),)),
    "pause": Image("pause:1", "bookworm", (("busybox-static",),), ("/bin/sleep", "2147483647")),
}
# Made and imported when it is asked for: a gigabyte is too much for every cluster.
ON_DEMAND = {
    "3.11-torch": Image(
        "python:3.11-torch",
        "bookworm",
        (PYTHON, ("python3-numpy",), ("python3-torch",)),
        # Nothing links them: a third of what torch would bring with it, by way of OpenCV.
        without=(
            *("gdal-data", "iso-codes", "libgl1-mesa-dri", "libllvm15", "libtorch-test", "libz3-4", "proj-data"),
            *("python3-hypothesis", "python3-mpmath", "python3-sympy", "shared-mime-info", "xkb-data"),
        ),
        # On Python 3.11 its torchrun cannot read "no redirects"; of a rank that is not there they do no harm.
        environment=("PET_REDIRECTS=9:1", "PET_TEE=9:1"),
    ),
}


def named(name: str) -> Image:
    """The image of this name, whichever of the two it is in."""
    found = {**IMAGES, **ON_DEMAND}
    if name not in found:
        message = f"no image is named {name}; there are {', '.join(found)}"
        raise RuntimeError(message)
    return found[name]


def archive(image: Image) -> Path:
    """The image as a file that containerd imports, made if it is not there."""
    key = hashlib.sha256(repr((image, VERSION, sorted(FILES.items()), SKIPPED.pattern)).encode()).hexdigest()[:16]
    path = cache() / "images" / f"{image.name.replace(':', '-')}-{key}.tar"
    if path.exists():
        return path
    with locked(cache() / "images" / "lock"):
        if not path.exists():
            print(f"Making the image {image.reference}", file=sys.stderr)
            _make(image, path)
    return path


def _make(image: Image, path: Path) -> None:
    apt = Apt(image.release)
    known: set[str] = set()
    wanted: list[str] = []
    layers: list[Path] = []
    for number, packages in enumerate(image.layers):
        wanted += packages
        files = [file for file in apt.download(wanted) if file.name not in known and not _left_out(file, image)]
        known.update(file.name for file in files)
        layer = path.with_suffix(f".layer{number}")
        Layer(apt.architecture).write(files, layer, base=number == 0)
        layers.append(layer)
    temporary = path.with_suffix(".tmp")
    digests = [hashlib.sha256(layer.read_bytes()).hexdigest() for layer in layers]
    config = {
        "architecture": apt.architecture,
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}", "LANG=C.UTF-8", *image.environment], "Cmd": list(image.command)},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    names = [f"{digest}.tar" for digest in digests]
    manifest = [{"Config": "config.json", "RepoTags": [image.reference], "Layers": names}]
    with tarfile.open(temporary, "w") as tar:
        for name, layer in zip(names, layers):
            tar.add(layer, name)
            layer.unlink()
        for name, content in (("config.json", config), ("manifest.json", manifest)):
            _add(tar, name, json.dumps(content).encode())
    temporary.rename(path)


def _left_out(package: Path, image: Image) -> bool:
    return package.name.partition("_")[0] in image.without


class Apt:
    """The packages of one release of Debian, from the mirror that this machine uses, beside what is installed here."""

    def __init__(self, release: str) -> None:
        self.place = cache() / "apt" / release
        self.architecture = _output("dpkg", "--print-architecture").strip()
        for name in ("state/lists/partial", "cache/archives/partial", "parts"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        (self.place / "status").touch()
        (self.place / "sources.list").write_text("".join(_sources(release)))
        settings = {
            "Dir::State": self.place / "state",
            "Dir::State::status": self.place / "status",
            "Dir::Cache": self.place / "cache",
            "Dir::Etc::sourcelist": self.place / "sources.list",
            "Dir::Etc::sourceparts": self.place / "parts",
            "Dir::Etc::preferencesparts": self.place / "parts",
            "APT::Architecture": self.architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",
        }
        self.options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        if not any((self.place / "state" / "lists").glob("*Packages*")):
            _output("apt-get", *self.options, "update", "-qq")

    def download(self, packages: list[str]) -> list[Path]:
        """The package files of these packages and of all that they depend on."""
        install = ["apt-get", *self.options, "install", "-qq", "-y", "--download-only", *packages]
        try:
            _output(*install)
        except RuntimeError:  # lists that have grown old name packages the mirror no longer has
            _output("apt-get", *self.options, "update", "-qq")
            _output(*install)
        simulated = _output("apt-get", *self.options, "install", "-qq", "-y", "--simulate", *packages)
        names = re.findall(r"^Inst (\S+) \((\S+) .*?\[(\w+)\]\)", simulated, re.MULTILINE)
        archives = self.place / "cache" / "archives"
        return [archives / f"{name}_{version.replace(':', '%3a')}_{arch}.deb" for name, version, arch in names]


def _sources(release: str) -> list[str]:
    """Lines for a sources.list: the mirror of this machine's own Debian, with another release."""
    mirror = ""
    signed = ""
    for file in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]:
        text = file.read_text() if file.is_file() else ""
        match = re.search(r"^(?:URIs:|deb (?:\[.*?\] )?)\s*(\S+/debian/?)\s", text, re.MULTILINE)
        if match:
            mirror = match[1]
            break
    if not mirror:
        message = "the images are made of Debian's packages, and apt on this machine knows no mirror of Debian"
        raise RuntimeError(message)
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    if keyring.exists():
        signed = f"[signed-by={keyring}] "
    return [f"deb {signed}{mirror} {release} main\n"]


class Layer:
    """Writes packages into one tar file, with /bin and its like as links into /usr."""

    def __init__(self, architecture: str) -> None:
        self.triplet = TRIPLETS[architecture]
        self.names: set[str] = set()

    def write(self, packages: list[Path], path: Path, *, base: bool) -> None:
        """Write the layer; the first one of an image also gets the files that no package brings."""
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            if base:
                self._write_base(tar)
            busybox = b""
            for package in packages:
                found = self._unpack(package, tar)
                busybox = busybox or found
            if busybox:
                self._link_applets(busybox, tar)
            for name, target in ALTERNATIVES.items():
                name = name.format(triplet=self.triplet)
                if str(Path(name).parent / target) in self.names:
                    self._link(tar, name, target)

    def _write_base(self, tar: tarfile.TarFile) -> None:
        for name in (
            "usr",
            *(f"usr/{each}" for each in MERGED),
            "etc",
            "root",
            "home",
            "proc",
            "sys",
            "dev",
            "run",
            "var",
        ):
            self._folder(tar, name, 0o755)
        for name in MERGED:
            self._link(tar, name, f"usr/{name}")
        for name in ("tmp", "var/tmp"):
            self._folder(tar, name, 0o1777)
        self._folder(tar, "home/user", 0o755, owner=1000)
        for name, content in FILES.items():
            self.names.add(name)
            _add(tar, name, content.encode())

    def _unpack(self, package: Path, tar: tarfile.TarFile) -> bytes:
        """Copy a package's files; gives the program when it is busybox."""
        busybox = b""
        data = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as source:
            for member in source:
                name = self._merged(member.name)
                if not name or SKIPPED.match(name) or name in self.names:
                    continue
                self.names.add(name)
                content = source.extractfile(member) if member.isreg() else None
                if name == "usr/bin/busybox" and content:
                    busybox = content.read()
                    content = io.BytesIO(busybox)
                member.name = name
                if member.islnk():
                    member.linkname = self._merged(member.linkname)
                tar.addfile(member, content)
        return busybox

    def _merged(self, name: str) -> str:
        name = name.removeprefix("./").strip("/")
        return f"usr/{name}" if name.partition("/")[0] in MERGED else name

    def _link_applets(self, program: bytes, tar: tarfile.TarFile) -> None:
        """A link for each applet that no package brings as a program."""
        path = cache() / "images" / "busybox"
        path.write_bytes(program)
        path.chmod(0o755)
        for applet in _output(str(path), "--list").split():
            if not {f"usr/bin/{applet}", f"usr/sbin/{applet}"} & self.names:
                self._link(tar, f"usr/bin/{applet}", "busybox")
        path.unlink()

    def _link(self, tar: tarfile.TarFile, name: str, target: str) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = tarfile.SYMTYPE, target
        self.names.add(name)
        tar.addfile(member)

    def _folder(self, tar: tarfile.TarFile, name: str, mode: int, owner: int = 0) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.uid, member.gid = tarfile.DIRTYPE, mode, owner, owner
        self.names.add(name)
        tar.addfile(member)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if done.returncode:
        message = f"{' '.join(command)} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(message)
    return done.stdout
