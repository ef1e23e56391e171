"""Functions of every kind run as jobs, or are refused where they are decorated."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import textwrap
import time

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import errors
from jupyter_konduktor.function import RemoteFunction
from jupyter_konduktor.state import JobState


def test_a_call_waits_streams_the_output_and_gives_the_value(capsys):
    @jk.remote
    def add(a, b=2):
        """Add."""
        print("adding", a, b)
        return a + b

    assert add(1, b=3) == 4
    assert capsys.readouterr().out == "adding 1 3\n"
    assert add.local(5) == 7
    assert add.__name__ == "add"
    assert add.__doc__ == "Add."
    assert "add" in repr(add)


def test_closures_lambdas_partials_and_builtins_run():
    factor = 3

    @jk.remote
    def closure(x):
        return x * factor

    assert closure(2) == 6
    assert jk.remote(lambda x: x + 1)(1) == 2
    assert jk.remote(functools.partial(pow, 2))(5) == 32
    assert jk.remote(sum)([1, 2, 3]) == 6


def test_an_async_function_gives_an_awaitable_and_runs_its_coroutine():
    @jk.remote
    async def later(x):
        import asyncio

        await asyncio.sleep(0.01)
        return x * 2

    async def main():
        return await asyncio.gather(later(1), later(2))

    assert asyncio.run(main()) == [2, 4]
    assert later.submit(4).result(30) == 8


def test_methods_static_methods_and_class_methods_run():
    class Model:
        scale = 2

        def __init__(self, x):
            self.x = x

        @jk.remote
        def scaled(self, y):
            return self.x * y * self.scale

        @jk.remote
        @staticmethod
        def double(x):
            return 2 * x

        @jk.remote
        @classmethod
        def name(cls):
            return cls.__name__

        @staticmethod
        @jk.remote
        def triple(x):
            return 3 * x

    assert Model(3).scaled(4) == 24
    assert Model.double(4) == Model(1).double(4) == 8
    assert Model.name() == "Model"
    assert Model.triple(2) == 6


def test_what_cannot_work_is_refused_where_it_is_decorated():
    def generator():
        yield 1

    async def async_generator():
        yield 1

    class Thing:
        pass

    for wrong in (generator, async_generator, Thing, 5, functools.partial(generator), jk.remote(len)):
        with pytest.raises(TypeError):
            jk.remote(wrong)


def test_wrong_options_are_refused_where_they_are_written():
    with pytest.raises(errors.InvalidTaskError, match=r"did you mean gpus\?"):
        jk.remote(gpu=1)(len)
    with pytest.raises(errors.InvalidTaskError, match="memory"):
        jk.remote(len).options(memory="10GB")


def test_options_make_another_function_and_leave_this_one():
    @jk.remote(cpus=1, env={"A": "1"})
    def environment():
        import os

        return os.environ.get("A"), os.environ["NUM_NODES"]

    two = environment.options(nodes=2, env={"A": "2"})
    assert isinstance(two, RemoteFunction)
    assert environment() == ("1", "1")
    assert two() == ("2", "2")


def test_gpus_that_are_not_here_are_refused_before_anything_is_made():
    before = len(jk.jobs())
    with pytest.raises(errors.InvalidTaskError, match="local_gpus"):
        jk.remote(gpus="H100:64")(len)([1])
    assert len(jk.jobs()) == before


def test_an_exception_comes_back_with_its_traceback_and_itself():
    @jk.remote
    def fail():
        raise LookupError("nothing there")

    with pytest.raises(errors.RemoteError, match="nothing there") as caught:
        fail()
    assert caught.value.ename == "LookupError"
    assert isinstance(caught.value.__cause__, LookupError)
    assert 'raise LookupError("nothing there")' in caught.value.traceback
    assert "jupyter_konduktor/runner" not in caught.value.traceback


def test_a_remote_function_inside_a_job_is_the_plain_function():
    @jk.remote
    def inner(x):
        return x + 1

    @jk.remote
    def outer(x):
        return inner(x) * 10

    assert outer(1) == 20


def test_a_job_inside_a_job_is_its_name():
    @jk.remote
    def kind(job):
        return type(job).__name__, str(job)

    job = jk.remote(len).submit([1])
    assert kind(job) == ("str", job.name)


def test_report_gives_a_value_where_the_function_returns_none():
    @jk.remote
    def reporting():
        import jupyter_konduktor as jk

        jk.report({"accuracy": 0.5})

    assert reporting() == {"accuracy": 0.5}


def test_exits_are_told_apart():
    @jk.remote
    def leave(how):
        import os
        import sys

        if how == "sys":
            sys.exit(3)
        os._exit(how)

    assert leave.submit(5).exception(30).exit_code == 5
    assert leave.submit("sys").exception(30).exit_code == 3
    assert isinstance(leave.submit(0).exception(30), errors.NoResultReportedError)


def test_an_unpicklable_value_is_an_error_that_names_it():
    @jk.remote
    def lock():
        import threading

        return threading.Lock()

    with pytest.raises(errors.JobFailedError, match="lock"):
        lock()


def test_an_unpicklable_argument_is_refused_before_anything_is_made():
    import threading

    before = len(jk.jobs())
    with pytest.raises(errors.PayloadError, match="lock"):
        jk.remote(len)([threading.Lock()])
    assert len(jk.jobs()) == before


def test_map_keeps_the_order_in_one_job():
    @jk.remote
    def power(x, y, base=1):
        return base * x**y

    before = len(jk.jobs())
    group = power.map([1, 2, 3], [2, 2], base=10)
    assert len(group) == 2
    assert group.result(30) == [10, 40]
    assert list(group) == [10, 40]
    assert group[1] == 40
    assert group.finished == 2
    assert len(jk.jobs()) == before + 1


def test_a_failing_item_is_named_and_the_others_finish():
    @jk.remote
    def inverse(x):
        return 1 / x

    group = inverse.map([1, 0, 2])
    with pytest.raises(errors.RemoteError) as caught:
        group.result(30)
    assert caught.value.item == 1
    assert "item 1" in "\n".join(caught.value._render_traceback_())
    values = group.result(return_exceptions=True)
    assert (values[0], values[2]) == (1.0, 0.5)
    assert isinstance(values[1].__cause__, ZeroDivisionError)
    assert dict(group.as_completed())[2] == 0.5


def test_an_item_that_ends_its_process_fails_alone():
    @jk.remote
    def item(x):
        import os

        if x == 2:
            os._exit(9)
        return x

    group = item.map([0, 1, 2, 3])
    assert group.wait(30) == "failed"
    assert (group.job.record.reason, group.job.record.message) == ("ItemsFailed", "1 of 4 items failed")
    values = group.result(return_exceptions=True)
    assert [values[index] for index in (0, 1, 3)] == [0, 1, 3]
    assert isinstance(values[2], errors.RemoteError)
    assert str(values[2]) == "ItemError: item 2 has ended the process that ran it: exit code 9"
    assert (values[2].item, values[2].exit_code) == (2, 9)
    assert group.outcomes() == [True, True, False, True]


def test_items_run_at_the_same_time_if_they_may_and_are_no_group(tmp_path):
    @jk.remote(max_parallel=3, retries=1)
    def item(x, place):
        import os
        import time
        from pathlib import Path

        Path(place, str(x)).touch()
        while len(list(Path(place).iterdir())) < 3:
            time.sleep(0.01)
        names = ("RANK", "NUM_NODES", "PET_NNODES", "PET_NODE_RANK", "MASTER_ADDR", "WORLD_SIZE")
        return [os.environ.get(name) for name in names]

    group = item.map(range(3), [str(tmp_path)] * 3)
    assert group.result(60) == [["0", "1", "1", "0", "127.0.0.1", None]] * 3
    assert group.job.record.spec["resources"]["nodes"] == 3
    assert item(5, str(tmp_path))[1] == "1"


def test_finished_items_survive_a_job_that_is_ended():
    @jk.remote
    def item(x):
        import time

        time.sleep(600 * (x == 2))
        return x

    group = item.map([0, 1, 2, 3])
    while group.finished < 2:
        assert not group.job.done()
    group.stop()
    while group.state is not JobState.STOPPED:
        time.sleep(0.01)
    values = group.result(return_exceptions=True)
    assert values[:2] == [0, 1]
    assert all(isinstance(value, errors.JobStoppedError) for value in values[2:])
    group.resume()
    while group.state is not JobState.RUNNING:
        time.sleep(0.01)
    assert group.item(1) == 1
    group.cancel()


def test_a_map_of_nothing_gives_nothing():
    assert jk.remote(len).map([]).result(30) == []


def test_a_group_is_found_again_by_its_name_and_awaited():
    group = jk.remote(len).map(["a", "bb"])
    again = jk.attach(group.name)
    assert len(again) == 2

    async def main():
        return await again

    assert asyncio.run(main()) == [1, 2]


def test_functions_of_a_module_travel_with_their_files_and_are_found_by_name(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "__init__.py").write_text("")
    (tmp_path / "project" / "tools.py").write_text("def twice(x):\n    return 2 * x\n")
    (tmp_path / "project" / "train.py").write_text(
        textwrap.dedent("""
        import jupyter_konduktor as jk
        from .tools import twice

        @jk.remote
        def train(x):
            import pickle
            return twice(x), pickle.loads(pickle.dumps(train)).__module__
        """)
    )
    code = "from project.train import train; print(train(4))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.stdout.split("\n")[0] == "(8, 'project.train')", run.stdout + run.stderr


def test_a_script_can_use_remote_functions_of_its_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import jupyter_konduktor as jk

        class Box:
            def __init__(self, x):
                self.x = x

        @jk.remote
        def boxed(x):
            return Box(x)

        if __name__ == "__main__":
            box = boxed(3)
            print(type(box) is Box, box.x)
        """)
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert run.stdout == "True 3\n", run.stderr
