"""Values cross to another process and back as what they were."""

from __future__ import annotations

import gc
import hashlib
import json
import socket
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from jupyter_konduktor.runner import codec

NOTEBOOK = """
import enum, dataclasses, abc
scale = 3
class Color(enum.Enum):
    RED = 1
class Base(abc.ABC):
    factor = 2
    @abc.abstractmethod
    def value(self): ...
class Net(Base):
    def __init__(self, x): self.x = x
    def value(self): return super().__class__, scale * self.factor * self.x
@dataclasses.dataclass
class Point:
    x: int = 0
def fact(n): return 1 if n < 2 else n * fact(n - 1)
def scaled(x): return x * scale
def outer():
    return scaled(fact(3))
"""


@pytest.fixture
def kernel():
    """A namespace like a kernel's ``__main__``."""
    namespace = {"__name__": "__main__"}
    exec(NOTEBOOK, namespace)
    return namespace


def there_and_back(values, kernel, code=""):
    """Send values to a fresh process, run code on them there, and load what it sends back."""
    pack = codec.dump(values, main=kernel)
    program = f"""
import sys, base64, json
sys.path[:0] = {sys.path!r}
from jupyter_konduktor.runner import codec
import __main__
ns = __main__.__dict__
sent = json.loads(sys.stdin.read())
buffers = {{k: bytearray(base64.b64decode(v)) for k, v in sent["buffers"].items()}}
loaded = codec.load(base64.b64decode(sent["data"]), lambda sha, size: buffers[sha], ns)
ns.update(loaded.indirect); ns.update(loaded.values)
exec({code!r}, ns)
pack = codec.dump({{n: ns[n] for n in loaded.values}}, main=ns)
print(json.dumps({{"data": base64.b64encode(pack.data).decode(),
    "buffers": {{k: base64.b64encode(v).decode() for k, v in pack.buffers.items()}}}}))
"""
    import base64

    sent = {
        "data": base64.b64encode(pack.data).decode(),
        "buffers": {k: base64.b64encode(v).decode() for k, v in pack.buffers.items()},
    }
    run = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(sent), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    came = json.loads(run.stdout.splitlines()[-1])
    buffers = {k: bytearray(base64.b64decode(v)) for k, v in came["buffers"].items()}
    return codec.load(base64.b64decode(came["data"]), lambda sha, size: buffers[sha], kernel).values


def local(pack, main=None):
    buffers = {sha: bytearray(view) for sha, view in pack.buffers.items()}
    return codec.load(pack.data, lambda sha, size: buffers[sha], {} if main is None else main)


def test_plain_values_need_no_cloudpickle():
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from jupyter_konduktor.runner import codec\n"
        "p = codec.dump({'a': [1, {'b': (2.5, None, b'x')}], 'e': ValueError('x')})\n"
        "v = codec.load(p.data, None, {}).values\n"
        "assert v['a'] == [1, {'b': (2.5, None, b'x')}], v\n"
        "assert p.header['cloudpickle'] is None and 'cloudpickle' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_functions_are_loaded_without_cloudpickle(kernel):
    def outer(n):
        def inner(m):
            return n if m == 0 else inner(m - 1) + scale

        return inner

    scale = 2
    pack = codec.dump({"f": kernel["outer"], "g": outer(5), "h": lambda: scale}, main=kernel)
    assert pack.header["cloudpickle"] is None
    program = f"""
import sys; sys.path[:0] = {sys.path!r}
from jupyter_konduktor.runner import codec
loaded = codec.load({pack.data!r}, None, main := {{"__name__": "__main__"}})
main.update(loaded.indirect)
print(loaded.values["f"](), loaded.values["g"](3), loaded.values["h"](), "cloudpickle" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "18 11 2 False\n", run.stderr


def test_objects_that_two_names_share_stay_shared():
    shared = [1, 2]
    values = local(codec.dump({"a": shared, "b": {"inner": shared}})).values
    assert values["a"] is values["b"]["inner"]


def test_arrays_come_back_writable_and_big_ones_out_of_band():
    big, small = np.arange(100_000.0), np.arange(3)
    pack = codec.dump({"big": big, "again": big, "small": small})
    assert list(pack.buffers) == [hashlib.sha256(big).hexdigest()]
    assert len(pack.data) < 5_000
    values = local(pack).values
    values["big"][0] = values["small"][0] = 7
    assert values["big"] is values["again"]
    assert big[0] == 0


def test_an_unchanged_buffer_has_the_same_address():
    assert list(codec.dump({"x": np.ones(20_000)}).buffers) == list(codec.dump({"y": np.ones(20_000)}).buffers)


def test_sizes_stand_with_the_name_they_belong_to():
    pack = codec.dump({"a": b"x" * 1000, "b": np.zeros(50_000)})
    sizes = {frame.name: frame.size for frame in pack.frames}
    assert 1_000 < sizes["a"] < 1_100
    assert 400_000 < sizes["b"] < 401_000


def test_a_notebook_function_brings_what_it_reads_as_names_of_their_own(kernel):
    pack = codec.dump({"outer": kernel["outer"]}, main=kernel)
    assert {f.name: f.via for f in pack.frames} == {
        "outer": None,
        "scaled": "outer",
        "fact": "outer",
        "scale": "scaled",
    }


def test_a_notebook_function_sees_the_namespace_it_is_loaded_into(kernel):
    assert there_and_back({"scaled": kernel["scaled"], "x": 0}, kernel, "scale = 100; x = scaled(2)")["x"] == 200


def test_recursive_functions_and_inheritance_work_elsewhere(kernel):
    values = {"outer": kernel["outer"], "net": kernel["Net"](5), "x": None}
    assert there_and_back(values, kernel, "x = (outer(), net.value()[1])")["x"] == (18, 30)


def test_a_class_of_the_kernel_comes_back_as_itself_and_unchanged(kernel):
    method = kernel["Net"].value
    values = there_and_back(
        {"net": kernel["Net"](5), "c": kernel["Color"].RED}, kernel, "type(net).factor = 99; net.x = 6"
    )
    assert type(values["net"]) is kernel["Net"]
    assert values["net"].x == 6
    assert values["c"] is kernel["Color"].RED
    assert kernel["Net"].value is method
    assert kernel["Net"].factor == 2


def test_a_class_defined_again_after_a_restart_is_recognised(kernel):
    pack = codec.dump({"net": kernel["Net"](5), "c": kernel["Color"].RED, "p": kernel["Point"](1)}, main=kernel)
    import cloudpickle.cloudpickle as cp

    known = dict(cp._DYNAMIC_CLASS_TRACKER_BY_ID)
    cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    try:
        restarted = {"__name__": "__main__"}
        exec("\n\n" + NOTEBOOK, restarted)
        values = local(pack, restarted).values
        assert type(values["net"]) is restarted["Net"]
        assert values["c"] is restarted["Color"].RED
        assert values["p"] == restarted["Point"](1)
        cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        changed = {"__name__": "__main__"}
        exec(NOTEBOOK.replace("factor = 2", "factor = 3"), changed)
        exec("class Net(Base):\n    def value(self): return 'other'", changed)
        assert type(local(pack, changed).values["net"]) is not changed["Net"]
    finally:
        cp._DYNAMIC_CLASS_TRACKER_BY_ID.update(known)


def test_classes_are_found_by_name_where_they_are_loaded_as_pickle_expects(kernel):
    values = {"net": kernel["Net"](5), "x": None}
    assert there_and_back(values, kernel, "import pickle; x = pickle.loads(pickle.dumps(net)).x")["x"] == 5


def test_an_enum_with_other_members_is_another_enum(kernel):
    pack = codec.dump({"c": kernel["Color"].RED}, main=kernel)
    import cloudpickle.cloudpickle as cp

    known = dict(cp._DYNAMIC_CLASS_TRACKER_BY_ID)
    cp._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
    try:
        changed = {"__name__": "__main__"}
        exec("import enum\nclass Color(enum.Enum):\n    RED = 2", changed)
        assert local(pack, changed).values["c"].value == 1
    finally:
        cp._DYNAMIC_CLASS_TRACKER_BY_ID.update(known)


def test_slots_are_slots_on_the_other_side_too(kernel):
    exec(
        "class Slim:\n    __slots__ = ('a', '__p')\n    def __init__(self): self.a, self.__p = 1, 2\n"
        "    def p(self): return self.__p\n"
        "class Wide(Slim): pass\n"
        "@dataclasses.dataclass(slots=True)\nclass Row:\n    x: int = 3",
        kernel,
    )
    values = {"slim": kernel["Slim"](), "wide": kernel["Wide"](), "row": kernel["Row"](), "held": None}
    code = "slim.a = 7; wide.b = 8; row.x += 1; held = (hasattr(slim, '__dict__'), hasattr(row, '__dict__'), slim.p())"
    back = there_and_back(values, kernel, code)
    assert (back["slim"].a, back["slim"].p(), back["wide"].b, back["row"]) == (7, 2, 8, kernel["Row"](4))
    assert type(back["slim"]) is kernel["Slim"]
    assert back["held"] == (False, False, 2)


def test_caches_travel_with_their_functions_and_without_their_content(kernel):
    exec(
        "import functools\n@functools.cache\ndef fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "class Data:\n    @functools.cached_property\n    def rows(self): return [1]\n"
        "    @functools.lru_cache(maxsize=7)\n    def row(self, n): return 2 * n",
        kernel,
    )
    kernel["fib"](20)
    values = {"fib": kernel["fib"], "d": kernel["Data"](), "x": None}
    code = "size = fib.cache_info().currsize; x = (size, fib(30), d.row(3), type(d).row.cache_parameters(), d.rows)"
    back = there_and_back(values, kernel, code)
    assert back["x"] == (0, 832040, 6, {"maxsize": 7, "typed": False}, [1])
    assert back["d"].rows == [1]


def test_names_that_typing_makes_travel_with_the_functions_that_use_them(kernel):
    source = (
        "import typing\nUser = typing.NewType('User', int)\nP = typing.ParamSpec('P')\n"
        "def make(f: typing.Callable[P, int], u: User) -> User: return User(u + 1)"
    )
    exec(compile(source, "<cell>", "exec", dont_inherit=True), kernel)
    back = there_and_back({"make": kernel["make"], "x": None}, kernel, "x = make(None, 1)")
    assert back["x"] == 2
    assert back["make"].__annotations__["return"] is kernel["User"]


def test_all_modules_at_once_are_refused_wherever_they_stand():
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\nfrom jupyter_konduktor.runner import codec\nimport cloudpickle\n"
        "try: codec.dump({'nest': [{'m': sys.modules}]})\nexcept codec.FrameError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "nest: TypeError: cannot pickle sys.modules\n"


@pytest.mark.parametrize(
    "culprit",
    [threading.Lock(), (i for i in ()), sys.stdout, socket.socket],
    ids=["lock", "generator", "open file", "importable"],
)
def test_what_cannot_be_pickled_is_named(culprit):
    if culprit is socket.socket:
        assert local(codec.dump({"x": culprit})).values["x"] is culprit
        return
    with pytest.raises(codec.FrameError) as caught:
        codec.dump({"ok": 1, "bad": {"deep": [culprit]}})
    assert caught.value.name == "bad"


def test_an_open_file_never_travels_as_its_content(tmp_path):
    path = tmp_path / "secret"
    path.write_text("content")
    with path.open() as text, path.open("rb") as binary:
        for file in (text, binary):
            with pytest.raises(codec.FrameError):
                codec.dump({"f": file})


def test_best_effort_leaves_out_what_fails_and_keeps_the_rest_whole():
    shared = [1]
    pack = codec.dump({"a": shared, "bad": [shared, threading.Lock()], "b": shared}, best_effort=True)
    assert list(pack.failed) == ["bad"]
    values = local(pack).values
    assert values["a"] is values["b"]


def test_a_value_whose_getstate_raises_is_blamed_not_half_sent():
    class Broken:
        def __getstate__(self):
            raise RuntimeError("no")

    with pytest.raises(codec.FrameError, match="no"):
        codec.dump({"x": Broken()}, main={})


def test_too_deep_a_list_is_an_error_and_no_crash():
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(codec.FrameError):
        codec.dump({"deep": deep})
    while deep:
        deep = deep.pop()


@pytest.mark.parametrize("position", ["stream", "header", "short", "long", "format"])
def test_changed_bytes_are_never_unpickled(position):
    data = bytearray(codec.dump({"x": list(range(50))}).data)
    if position == "stream":
        data[-10] ^= 1
    elif position == "header":
        data = data.replace(b'"sha256":"', b'"sha256":"0', 1)
    elif position == "short":
        data = data[:-1]
    elif position == "long":
        data += b"."
    else:
        data = data.replace(b"konduktor-pack", b"konduktor-hack")
    with pytest.raises(codec.CodecError):
        codec.load(bytes(data), None, {})


def test_a_swapped_buffer_is_never_used():
    pack = codec.dump({"x": np.zeros(20_000)})
    with pytest.raises(codec.CodecError, match="digest"):
        codec.load(pack.data, lambda sha, size: bytearray(np.ones(20_000).tobytes()), {})


def edited(pack, **changes):
    header, _, stream = pack.data.partition(b"\n")
    return json.dumps({**json.loads(header), **changes}).encode() + b"\n" + stream


def test_code_of_another_python_is_refused_before_it_is_loaded(kernel):
    pack = codec.dump({"f": kernel["fact"]}, main=kernel)
    with pytest.raises(codec.CodecError, match=r"Python 3\.7") as caught:
        codec.load(edited(pack, python="3.7"), None, {})
    assert caught.value.kind == "version"
    plain = codec.dump({"x": [1]})
    assert codec.load(edited(plain, python="3.7"), None, {}).values == {"x": [1]}


def test_versions_of_packages_are_checked_before_unpickling():
    pack = codec.dump({"x": np.arange(3)})
    major, minor, *_ = np.__version__.split(".")
    noted = codec.load(edited(pack, packages={"numpy": f"{major}.{int(minor) + 1}"}), None, {})
    assert "numpy is" in noted.notes[0]
    with pytest.raises(codec.CodecError, match="numpy"):
        codec.load(edited(pack, packages={"numpy": f"{int(major) + 1}.0"}), None, {})
    with pytest.raises(codec.CodecError, match="cannot be imported"):
        codec.load(edited(pack, packages={"no_such_package": "1.0"}), None, {})


def test_a_fingerprint_shows_a_change_in_place_and_nothing_else():
    value = {"a": np.zeros(50_000), "b": [1, 2]}
    before = codec.fingerprint(value)
    assert codec.fingerprint(value) == before
    value["a"][7] = 1
    changed = codec.fingerprint(value)
    assert changed != before
    value["b"].append(3)
    assert codec.fingerprint(value) != changed
    assert codec.fingerprint(threading.Lock()) is None


def test_a_class_whose_instances_were_pickled_has_the_same_fingerprint(kernel):
    before = codec.fingerprint(kernel["Net"], kernel)
    codec.fingerprint(kernel["Net"](1), kernel)
    assert "__slotnames__" in vars(kernel["Net"])
    assert codec.fingerprint(kernel["Net"], kernel) == before
    kernel["Net"].factor = 5
    assert codec.fingerprint(kernel["Net"], kernel) != before


def test_a_dropped_pack_lets_go_of_its_values_without_a_garbage_collection(kernel):
    array = np.zeros(100_000)
    alive = weakref.ref(array)
    gc.collect()
    gc.disable()
    try:
        pack = codec.dump({"a": (array, kernel["outer"])}, main=kernel)
        del array, pack
        assert alive() is None
    finally:
        gc.enable()
