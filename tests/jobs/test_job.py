"""The handle of a job: a name, a future, and something to attach to again."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest

import jupyter_konduktor as jk
from jupyter_konduktor import errors, session
from jupyter_konduktor.job import Job


def script(text, name="script", **options):
    return jk.launch(jk.Task.create(command=["sh", "-c", text], name=name, **options))


def test_a_script_has_the_volumes_of_the_settings_beside_its_own(monkeypatch):
    monkeypatch.setenv("JUPYTER_KONDUKTOR_VOLUMES", "shared:/shared data:/data")
    job = script("true", volumes=["data:/mine"])
    assert job.record.spec["volumes"] == {"shared": "/shared", "data": "/mine"}
    assert job.wait(30) == "succeeded"


@pytest.fixture
def held():
    """A job that runs until it is cancelled."""
    job = script("echo begun; exec sleep 600")
    yield job
    job.cancel()
    assert job.wait(30) in ("cancelled", "stopped")


def test_a_script_in_any_language_reports_its_result():
    job = script("""echo '{"loss": 0.25}' > "$KONDUKTOR_OUTPUT_DIR/result.json" """)
    assert job.result(30) == {"loss": 0.25}
    assert job.wait() == "succeeded"
    assert job.exception() is None
    assert job.done()


def test_a_job_is_its_name_and_prints_as_a_handle():
    job = script("true", name="named")
    assert isinstance(job, str)
    assert job.startswith("named-")
    assert job == job.name
    assert {job.name: 1}[job] == 1
    assert json.dumps([job]) == json.dumps([job.name])
    assert repr(job) == f"Job({job.name!r})"
    assert f"{job}" == job.name
    job.wait(30)


def test_a_handle_can_be_pickled_and_is_the_same_job_elsewhere():
    job = script("true")
    again = pickle.loads(pickle.dumps(job))
    assert isinstance(again, Job)
    assert again == job
    assert again.wait(30) == "succeeded"
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).wait(30))"
    run = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(job), capture_output=True, timeout=60)
    assert run.stdout.split() == [b"succeeded"], run.stderr


def test_another_process_attaches_by_the_name_alone():
    job = script("echo 5 > $KONDUKTOR_OUTPUT_DIR/result.json")
    code = f"import jupyter_konduktor as jk; print(jk.attach({job.name!r}).result(30))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, text=True)
    assert run.stdout.split() == ["5"], run.stderr


def test_a_job_of_this_machine_is_found_though_jobs_run_elsewhere(monkeypatch, tmp_path):
    job = script("true")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_BACKEND", "kubernetes")
    monkeypatch.setenv("JUPYTER_KONDUKTOR_KUBECONFIG", str(tmp_path / "absent"))
    assert jk.attach(job).wait(30) == "succeeded"
    with pytest.raises(errors.KonduktorError, match="absent"):  # what is told is of where jobs run
        jk.attach("nobody-12345")


def test_an_unknown_name_is_told():
    with pytest.raises(errors.JobNotFoundError, match="nobody-12345"):
        jk.attach("nobody-12345")


def test_every_way_a_job_can_end_ends_the_wait():
    ends = {
        script("exit 0"): ("succeeded", errors.NoResultReportedError),
        script("exit 3"): ("failed", errors.JobFailedError),
        script("kill -9 $$"): ("failed", errors.JobFailedError),
        script("exec sleep 60", timeout=0.3): ("stopped", errors.JobStoppedError),
    }
    for job, (outcome, error) in ends.items():
        assert job.wait(30) == outcome
        with pytest.raises(error) as caught:
            job.result()
        assert caught.value.job == job
        assert caught.value.advice
        assert type(job.exception()) is error
        if outcome == "stopped":
            job.cancel()


def test_the_exit_code_is_kept():
    job = script("exit 3")
    error = job.exception(30)
    assert isinstance(error, errors.JobFailedError)
    assert error.exit_code == 3


def test_the_node_that_failed_is_named_with_its_last_lines():
    job = script("[ $RANK = 1 ] && { seq 100; echo out of luck >&2; exit 3; }; sleep 60", nodes=3)
    with pytest.raises(errors.JobFailedError, match="node 1") as caught:
        job.result(30)
    assert caught.value.exit_code == 3
    assert job.record.failed_node == 1
    shown = str(caught.value).splitlines()
    assert "out of luck" in shown
    assert "82" in shown
    assert "81" not in shown, "twenty lines are enough"


def test_an_exit_code_and_a_result_both_survive():
    job = script("echo 1 > $KONDUKTOR_OUTPUT_DIR/result.json; exit 3")
    with pytest.raises(errors.JobFailedError, match="exit code 3"):
        job.result(30)


@pytest.mark.parametrize(
    ("write", "error"),
    [
        ("head -c 5000 /dev/zero | tr '\\0' 1", errors.ResultTooLargeError),
        ("printf '{\"a\":'", errors.MalformedResultError),
        ("printf NaN", errors.MalformedResultError),
    ],
)
def test_a_result_that_is_none_has_its_error(write, error):
    with pytest.raises(error):
        script(f"{write} > $KONDUKTOR_OUTPUT_DIR/result.json").result(30)


@pytest.mark.parametrize("extra", [0, 1])
def test_the_bound_of_a_result_is_exact_in_bytes_not_characters(extra):
    job = script(f"""printf '"%s%s"' $(printf 'ü%.0s' $(seq 1749)) {"x" * extra} > $KONDUKTOR_OUTPUT_DIR/result.json""")
    if extra:
        with pytest.raises(errors.ResultTooLargeError, match="3,501"):
            job.result(30)
    else:
        assert job.result(30) == "ü" * 1749


def test_a_wait_ends_with_its_time_and_the_job_goes_on(held):
    begun = time.monotonic()
    with pytest.raises(errors.ResultTimeoutError, match="goes on") as caught:
        held.result(0.3)
    assert isinstance(caught.value, TimeoutError)
    assert time.monotonic() - begun < 5
    assert not held.done()


def test_cancel_stop_and_resume():
    job = script("exec sleep 600")
    job.stop()
    assert job.wait(30) == "stopped"
    with pytest.raises(errors.JobStoppedError, match="resume"):
        job.result()
    job.resume()
    assert job.state in ("Queued", "Starting", "Running")
    job.cancel()
    assert job.wait(30) == "cancelled"
    with pytest.raises(errors.JobCancelledError):
        job.result()


def test_history_tells_every_change_in_order_with_its_time():
    job = script("true")
    job.wait(30)
    assert [change.state for change in job.history] == ["Queued", "Starting", "Running", "Succeeded"]
    times = [change.time for change in job.history]
    assert times == sorted(times)
    assert all(change.reason for change in job.history)
    assert job.events() == list(job.history)


def test_queued_jobs_know_their_position():
    cpus = jk.queues()[0].resources["cpu"][1]
    first = script("exec sleep 600", cpus=cpus)
    waiting = [script("true", cpus=cpus) for _ in range(3)]
    try:
        assert [job.queue_position for job in waiting] == [0, 1, 2]
        assert "Queued" in repr(jk.jobs())
    finally:
        first.cancel()
    for job in waiting:
        assert job.wait(30) == "succeeded"
        assert job.queue_position is None


def test_logs_are_what_was_written_in_one_order():
    job = script("echo one; echo two >&2; printf 'three'; printf '\\377'")
    job.wait(30)
    assert job.logs() == "one\ntwo\nthree\ufffd"
    assert job.logs(tail=1) == "three\ufffd"
    assert job.logs(tail=0) == ""
    assert "".join(job.logs(follow=True)) == job.logs()


def test_following_logs_gives_text_as_it_comes():
    job = script("echo first; sleep 1; echo second")
    lines = job.logs(follow=True)
    begun = time.monotonic()
    got = ""
    for text in lines:
        got += text
        if "first" in got:
            break
    assert "second" not in got
    assert time.monotonic() - begun < 20
    assert "second" in got + "".join(lines)


def test_the_log_of_an_earlier_attempt_is_kept():
    job = script("echo attempt $RESTART_ATTEMPT; [ $RESTART_ATTEMPT = 1 ]", max_restarts=1)
    assert job.wait(30) == "succeeded"
    assert job.logs(attempt=0) == "attempt 0\n"
    assert job.logs() == "attempt 1\n"
    assert "".join(job.logs(follow=True)) == "attempt 1\n"


def test_threads_can_wait_for_one_job_together():
    job = script("sleep 0.3; echo 7 > $KONDUKTOR_OUTPUT_DIR/result.json")
    got = []
    threads = [threading.Thread(target=lambda: got.append(job.result(30))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == [7] * 8


def test_jobs_can_be_awaited_beside_other_tasks():
    jobs = [script(f"sleep 0.2; echo {n} > $KONDUKTOR_OUTPUT_DIR/result.json") for n in range(3)]

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        values = await asyncio.gather(*jobs)
        ticking.cancel()
        return values, ticks

    values, ticks = asyncio.run(main())
    assert values == [0, 1, 2]
    assert ticks > 5, "the loop was blocked"


def test_awaiting_a_failed_job_raises_its_error():
    async def main():
        await script("exit 4")

    with pytest.raises(errors.JobFailedError):
        asyncio.run(main())


def test_a_cancellation_that_comes_together_with_a_change_is_not_lost(held):
    async def main():
        for steps in range(6):  # of the loop, between the change and the cancellation
            waiting = asyncio.ensure_future(held._wait_async())
            await asyncio.sleep(0.02)
            for listener in list(held._tracker._listeners.values()):
                listener()
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting}, timeout=2)
            assert waiting.cancelled(), steps

    asyncio.run(main())


def test_an_interrupt_ends_the_wait_and_not_the_job(capsys, held):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        held.wait(30)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"attach {held}" in said
    assert f"cancel {held}" in said
    assert not held.done()


def test_an_interrupt_cancels_where_the_settings_say_so(monkeypatch, capsys):
    monkeypatch.setenv("JUPYTER_KONDUKTOR_ON_INTERRUPT", "cancel")
    job = script("exec sleep 600")
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        job.wait(30)
    assert "cancelled" in capsys.readouterr().err
    assert job.wait(30) == "cancelled"


def test_a_timeout_of_asyncio_does_not_cancel_the_job(monkeypatch, capsys):
    monkeypatch.setenv("JUPYTER_KONDUKTOR_ON_INTERRUPT", "cancel")
    job = script("sleep 1; echo 1 > $KONDUKTOR_OUTPUT_DIR/result.json")

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(job, 0.1)
        return await job

    assert asyncio.run(main()) == 1
    assert capsys.readouterr().err == ""


def test_the_settings_can_keep_pickles_from_being_loaded(monkeypatch):
    @jk.remote
    def pair():
        return 1, 2

    job = pair.submit()
    assert job.result(30) == (1, 2)
    monkeypatch.setenv("JUPYTER_KONDUKTOR_UNPICKLE", "never")
    with pytest.raises(errors.UntrustedResultError):
        jk.attach(job).result()


def test_jobs_lists_what_is_there_as_a_table():
    job = script("true", name="listed")
    job.wait(30)
    found = jk.jobs()
    assert job in list(found)
    assert isinstance(found[-1], Job)
    assert job in repr(found)
    assert "<td" in found._repr_html_()


def test_hostile_text_is_inert_in_tables():
    job = script("exit 1", name="hostile")
    job.wait(30)
    from jupyter_konduktor import summary

    evil = "<img src=x onerror=alert(1)>\x1b]8;;http://x\x07\n"
    from dataclasses import replace

    record = replace(job.record, message=evil, queue=evil)
    text, html = summary.table([record])
    assert "<img" not in html
    assert "\x1b" not in html + text + summary.text(record) + summary.html(record)
    assert "<img" not in summary.html(record)


def test_a_watch_that_was_closed_starts_again():
    job = script("true")
    session.tracker().close()
    assert job.wait(30) == "succeeded"


def test_report_outside_of_a_job_checks_the_value():
    jk.report({"loss": 1.0})
    with pytest.raises((TypeError, ValueError, errors.KonduktorError)):
        jk.report(object())


def test_names_of_the_package_complete_and_nothing_else_is_there():
    assert {"remote", "attach", "jobs", "queues", "launch", "report", "Task", "Job"} <= set(dir(jk))
    with pytest.raises(AttributeError):
        jk.nothing  # noqa: B018
