"""The kubernetes backend: what the rest of the package sees of it."""

from __future__ import annotations

import builtins
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jupyter_konduktor.backends.kubernetes import doctor, queues, results, words
from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.api.table import Rows
from jupyter_konduktor.backends.kubernetes.engine import Engine
from jupyter_konduktor.backends.kubernetes.judging.about import first_record
from jupyter_konduktor.backends.kubernetes.judging.judge import Sight, deleted, judge, noted
from jupyter_konduktor.backends.kubernetes.logs.carriage import Carriage, node_of
from jupyter_konduktor.backends.kubernetes.sending.submission import Submission
from jupyter_konduktor.backends.kubernetes.shelf.shelf import JobShelf, Shelf
from jupyter_konduktor.backends.kubernetes.site import Site
from jupyter_konduktor.backends.kubernetes.watch import KubernetesWatch
from jupyter_konduktor.backends.protocol import Event, Finding, LogChunk, Stored
from jupyter_konduktor.backends.wording import damaged
from jupyter_konduktor.errors import (
    AccessDeniedError,
    ApiError,
    BackendError,
    JobLostError,
    JobNotFoundError,
)
from jupyter_konduktor.state import JobRecord, JobState, QueueInfo
from jupyter_konduktor.task import Task

if TYPE_CHECKING:
    from jupyter_konduktor.config import Settings
    from jupyter_konduktor.payload import Payload

SYNC = 10.0
"""Seconds that a listing waits for a watch that has just begun."""

LOG_PATIENCE = 20.0
"""Seconds that a reader waits for the log of a job that has ended to be brought here."""

TAKEN_UP = 5.0
"""Seconds that a stop waits for Kueue to take the job up."""

STOP_PATIENCE = 60.0
"""Seconds that a resume waits for a stop that is on its way."""


class KubernetesBackend:
    """Jobs as JobSets of one namespace; see `jupyter_konduktor.backends.protocol.Backend`.

    Parameters
    ----------
    settings : Settings
        ``kubeconfig``, ``context``, ``namespace``, ``accelerators``, ``pod_config``, ``stuck_after``, ``on_stuck``,
        ``grace`` and ``keep_days`` are used.

    Raises
    ------
    ConfigError
        If the cluster's address or this user's credentials cannot be found out.
    """

    def __init__(self, settings: Settings) -> None:
        client = Client.connect(kubeconfig=settings.kubeconfig, context=settings.context, namespace=settings.namespace)
        self.site = Site(client, Shelf.open(client.cluster_id, client.namespace))
        self._settings = settings
        self._submission = Submission(self.site, settings)
        self._lock = threading.Lock()
        self._engine: Engine | None = None

    @property
    def name(self) -> str:
        """The name of the backend in settings and records."""
        return words.BACKEND

    @property
    def place(self) -> str:
        """Where its jobs run, for a person: context and namespace."""
        return f"{self.site.client.context}, namespace {self.site.namespace}"

    def owns(self, record: JobRecord) -> bool:
        """Whether the user of this process submitted the job."""
        return record.origin.get("user_id") == self.site.user

    # --- making jobs

    def check(self, task: Task) -> builtins.list[str]:
        """Refuse a task that can never run here; gives notes on what has no effect here."""
        return self._submission.check(task)

    def review(self, task: Task, payload: Payload) -> builtins.list[str]:
        """Compare the payload with the image, if a job has shown it before."""
        return self._submission.review(task, payload)

    def submit(
        self, task: Task, payload: Payload | None, *, key: str, origin: Mapping[str, Any] | None = None
    ) -> JobRecord:
        """Make the job: a JobSet, and what it needs to run."""
        engine = self._running_engine()
        jobset, made = self._submission.submit(task, payload, key=key, origin=origin or {})
        if not made:
            return self.get(jobset["metadata"]["name"])
        record = judge(_alone(jobset), None, submitted=True)
        if record is None:
            raise JobLostError(f"{jobset['metadata']['name']} was deleted as it was made", advice="Submit it again.")
        self.site.shelf.keep(record.uid, record.name).save(record)
        engine.track(jobset, record)
        return record

    # --- knowing them

    def get(self, name: str) -> JobRecord:
        """Look one job up."""
        engine = self._engine
        known = engine.by_name(name) if engine is not None else None
        if known is not None:
            return known
        kept = self.site.shelf.find(name)
        held = kept.load() if kept is not None else None
        ended = held is not None and held.state.final
        # Of one that has failed the cluster may still tell how.
        if held is not None and ended and (held.exit_code is not None or held.state is JobState.CANCELLED):
            return held
        try:
            return self._judged([self.site.jobset(name)])[0]
        except JobNotFoundError:
            if held is None or kept is None:
                raise
            if not ended:
                if not kept.cancelled:
                    raise
                held = deleted(held, cancelled=True)
                kept.save(held)
            return held
        except AccessDeniedError:
            if held is None:
                raise
            return held  # the watch, as far as there is one, keeps it up to date
        except BackendError:
            if held is None or not ended:
                raise
            return held  # it stays as it is, whatever more there is to be known

    def list(self, *, all_users: bool = False) -> builtins.list[JobRecord]:
        """All jobs that are kept, oldest first."""
        engine = self._engine
        found = engine.records(SYNC) if engine is not None and not all_users else None
        if found is None:
            found = self._listed(all_users)
        uids = {record.uid for record in found}
        found += [record for record in self.site.shelf.finals() if record.uid not in uids]
        if not all_users:  # someone may have looked at others' jobs: those are watched and kept as well
            found = [record for record in found if self.owns(record)]
        return sorted(found, key=lambda record: (record.created, record.name))

    def _listed(self, all_users: bool) -> builtins.list[JobRecord]:
        """List what is on the cluster, without a watch."""
        selector = f"{words.MANAGED}=true" + ("" if all_users else f",{words.USER_ID}={self.site.user}")
        finals = self.site.shelf.final_uids()
        ended: builtins.list[dict[str, Any]] = []
        going: builtins.list[dict[str, Any]] = []
        rows = Rows()
        pages = self.site.client.pages(words.jobsets(self.site.namespace), {"labelSelector": selector}, table=True)
        for page in pages:
            for jobset in rows.of(page):
                if jobset["metadata"]["uid"] not in finals:
                    over = (jobset.get("status") or {}).get("terminalState")
                    # How it ended stands in its row, but not what became of the items of a map.
                    told = over and first_record(jobset, None).kind != "map"
                    (ended if told else going).append(jobset)
        found = [judge(_alone(jobset), None) for jobset in ended]
        return [record for record in found if record is not None] + self._judged(going)

    def _judged(self, jobsets: Sequence[dict[str, Any]]) -> builtins.list[JobRecord]:
        """Look at what belongs to some JobSets and say where they stand."""
        found = []
        for jobset, sight in zip(jobsets, self.site.look(jobsets), strict=True):
            kept = self.site.keep(jobset)
            held = kept.load()
            record = judge(sight, held, submitted=kept.submitted)
            if record is None:
                continue
            if record.state.final:
                left = results.outcome(jobset, sight.pods, sight.owners)
                if left.data is not None:
                    kept.save_envelope(left.data, attempt=record.attempt)
                elif self._is_lost(record, kept):
                    record = noted(record, left.note)
            if held is not None or kept.submitted or record.state.final:
                kept.save(record)  # of others' jobs, which may be very many, only what the cluster forgets
            found.append(record)
        return found

    def _is_lost(self, record: JobRecord, kept: JobShelf) -> bool:
        """Whether a job has succeeded and left nothing, where all that is there of it can be seen."""
        news = record.state is JobState.SUCCEEDED and not record.message and kept.envelope() is None
        return news and self.site.rights.allows("list", "", "pods")

    def queues(self) -> builtins.list[QueueInfo]:
        """The LocalQueues of the namespace."""
        return queues.queues(self.site)

    # --- following them

    def watch(self, callback: Callable[[Event], None]) -> KubernetesWatch:
        """Report every job's changes to one callback, from one thread."""
        return self._running_engine().watch(callback)

    def _running_engine(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = Engine(
                    self.site,
                    stuck_after=float(self._settings.stuck_after),
                    give_up=self._cancel if self._settings.on_stuck == "cancel" else None,
                    renew=self._submission.depot.renew,
                    grace=self._settings.grace,
                )
            return self._engine

    # --- what they left

    def read_log(
        self, name: str, *, node: int = 0, attempt: int | None = None, offset: int = 0, limit: int = 1 << 20
    ) -> LogChunk:
        """Read one node's stream from an offset in bytes; what is not here yet is brought."""
        record = self.get(name)
        nodes = Task.from_json(record.spec).resources.nodes
        if not 0 <= node < nodes:
            raise BackendError(f"{name} has no node {node}; it has {nodes}")
        attempt = record.attempt if attempt is None else attempt
        file = self.site.shelf.keep(record.uid, name).log(attempt, node)
        over = record.ends_wait or attempt < record.attempt
        if not file.ended:
            self._carry(record, node, attempt, over)
        if file.problem and not file.size:
            raise AccessDeniedError(file.problem)
        if over and not file.size and not file.ended:
            self._demand(f"The log of {name} cannot be read", "list", "", "pods")
            if self._log_is_lost(record, node, attempt):
                return _piece(_LOST_LOG, offset, limit)
        chunk = file.read(offset, limit)
        size = file.size
        if chunk.ended or not over or chunk.offset < size:
            return chunk
        # It is over and was not brought to its end: nothing more comes by itself, and who reads it has to know.
        if not size or offset > size or not (record.state.final or attempt < record.attempt):
            return replace(chunk, ended=True)
        note = b"\n" * (file.read(-1, 1).data != b"\n") + self._rest(record, node, attempt)
        return LogChunk(chunk.data + note, chunk.offset + len(note), ended=True)

    def _rest(self, record: JobRecord, node: int, attempt: int) -> bytes:
        """Say what became of the rest of a log that is not here."""
        try:
            lost = self._log_is_lost(record, node, attempt)
        except BackendError as error:
            return f"[konduktor: the rest of the output is not here yet: {error.message}]\n".encode()
        return _LOST_REST if lost else _LATE_REST

    def _log_is_lost(self, record: JobRecord, node: int, attempt: int) -> bool:
        """Whether the log of an attempt that has run went with its pod."""
        if not any(change.attempt == attempt and change.state is JobState.RUNNING for change in record.history):
            return False
        try:
            (sight,) = self.site.look([self.site.jobset(record.name)])
        except JobNotFoundError:
            return True
        return attempt < record.attempt or all(node_of(pod) != node for pod in sight.pods)

    def _carry(self, record: JobRecord, node: int, attempt: int, over: bool) -> None:
        """Have the log of a node's attempt brought here; of what is over, to its end."""
        engine = self._engine
        carriage = engine.carriage(record.uid) if engine is not None else None
        if carriage is None and not over:
            engine = self._running_engine()
            engine.include(str(record.origin.get("user_id", "")))
            carriage = engine.carriage(record.uid)
        if carriage is not None:
            if engine is not None and carriage.want(node):
                engine.touch(record.uid)
            if over and carriage.carries(node, attempt):
                carriage.wait(node, attempt, LOG_PATIENCE)
                return
        if not over:
            return  # the watch has yet to find it, or its pod
        try:
            jobset = self.site.jobset(record.name)
        except JobNotFoundError:
            return
        (sight,) = self.site.look([jobset])
        self.site.owners.settle(sight.pods)
        pods = self.site.owners.own(jobset, sight.pods)
        carriage = Carriage(self.site, record.uid, record.name, lambda event: None, lambda: None)
        carriage.want(node)
        carriage.number(record, pods)
        carriage.follow(record, pods)
        carriage.wait(node, attempt, LOG_PATIENCE)
        carriage.close()

    def read_envelope(self, name: str) -> bytes | None:
        """The final envelope of the job's last attempt, None where it left none."""
        record = self.get(name)
        if not record.state.final:
            return None
        kept = self.site.shelf.keep(record.uid, name)
        found = kept.envelope()
        digest = damaged(found)
        if digest:
            self._submission.depot.drop(kept, digest, before=record.finished or 0.0)
        if found is None and record.state is not JobState.CANCELLED:
            self._demand(f"What {name} left cannot be read", "list", "", "pods")
        return found

    def read_items(self, name: str, start: int = 0) -> Sequence[tuple[int, bytes]]:
        """The (index, envelope) pairs of a map's finished items, in the order they finished, from the start-th on."""
        record = self.get(name)
        self._bring(record)
        return self.site.shelf.keep(record.uid, name).items(start)

    def read_artifact(self, name: str, reference: Mapping[str, Any]) -> memoryview:
        """The bytes an envelope's reference points to, its digest not yet checked."""
        record = self.get(name)
        kept, sha256 = self.site.shelf.keep(record.uid, name), str(reference.get("sha256", ""))
        url = str(record.spec.get("store") or "")
        found = kept.artifact(sha256) or self._submission.depot.read(kept, url, reference)
        if found is None:
            self._bring(record)
            found = kept.artifact(sha256)
        if found is None and url:
            raise JobLostError(
                f"{name} has left a value that is not in its store {url} any more",
                advice="Old results are removed from a store (jupyter konduktor gc): run it again.",
                job=name,
            )
        if found is None:
            raise JobLostError(
                f"{name} has left a value that is not here, and its pod is gone",
                advice="Values that are larger than an envelope travel with the log: run it again and stay connected, "
                'return less, or set a store for them (store = "s3://bucket/prefix").',
                job=name,
            )
        return found

    def _bring(self, record: JobRecord) -> None:
        """Have node 0's log here as far as it goes, and with it what came along: items and artifacts."""
        self.read_log(record.name, offset=-1, limit=1)

    # --- ending them

    def cancel(self, name: str) -> None:
        """End the job for good: its JobSet is marked with who did it, and deleted."""
        self._cancel(name)

    def _cancel(self, name: str, because: str | None = None) -> None:
        record = self.get(name)
        if record.state.final:
            return
        self._demand(f"{name} cannot be cancelled", "delete", words.JOBSET_GROUP, "jobsets")
        kept = self.site.shelf.keep(record.uid, name)
        kept.note_cancelled()
        try:
            self._annotate(record, {words.CANCELLED_BY: self.site.user, words.CANCELLED_BECAUSE: because})
        except ApiError:
            # No right to, or a webhook that does not answer. This machine knows who did it; others see a deletion.
            pass
        try:
            self.site.client.delete(words.jobsets(self.site.namespace, name), uid=record.uid)
        except ApiError as error:
            if error.status not in _GONE:
                raise
        self._running_engine()  # who watches its end also keeps what it still writes

    def stop(self, name: str) -> None:
        """Hold the job: its Workload is made inactive, which ends what runs and frees its quota."""
        record = self.get(name)
        if record.state.ends_wait:
            return
        path = self._workload(record, "stopped")
        self.site.shelf.keep(record.uid, name).note_stopping(True)
        try:
            self._annotate(record, {words.STOPPED_BY: self.site.user})
        except ApiError:
            pass  # others will see that it was stopped, and not by whom
        self.site.client.patch(path, {"spec": {"active": False}})

    def resume(self, name: str) -> None:
        """Queue a held job again; waits until it has stopped if it is still stopping."""
        record = self.get(name)
        kept, end = self.site.shelf.keep(record.uid, name), time.monotonic() + STOP_PATIENCE
        while kept.stopping and not record.state.ends_wait:
            if time.monotonic() > end:
                raise BackendError(f"{name} is still being stopped", advice="Resume it once it is Stopped.")
            time.sleep(0.05)
            record = self.get(name)
        if record.state is not JobState.STOPPED:
            raise BackendError(f"{name} is {record.state}; only a stopped job can be resumed")
        path = self._workload(record, "resumed")
        try:
            self._annotate(record, {words.STOPPED_BY: None, words.STOP_USERID: None, words.STOP_USERNAME: None})
        except ApiError:
            pass  # then nobody could note who had stopped it
        self.site.client.patch(path, {"spec": {"active": True}})
        kept.note_stopping(False)

    def _annotate(self, record: JobRecord, annotations: Mapping[str, str | None]) -> None:
        body = {"metadata": {"uid": record.uid, "annotations": annotations}}
        try:
            self.site.client.patch(words.jobsets(self.site.namespace, record.name), body)
        except ApiError as error:
            if error.status not in _GONE:
                raise

    def _workload(self, record: JobRecord, doing: str) -> str:
        """Give the path of the job's Workload, by which Kueue holds a job and lets it go."""
        if not self.site.kueue:
            raise BackendError(f"{record.name} cannot be {doing}: there is no Kueue here that could hold it")
        for verb in ("patch", "list"):
            self._demand(f"{record.name} cannot be {doing}", verb, words.KUEUE_GROUP, "workloads")
        end = time.monotonic() + TAKEN_UP
        (sight,) = self.site.look([{"metadata": {"uid": record.uid}}])
        while sight.workload is None and time.monotonic() < end:
            time.sleep(0.1)  # Kueue takes a moment to take up what was submitted just now
            (sight,) = self.site.look([{"metadata": {"uid": record.uid}}])
        if sight.workload is None:
            raise BackendError(
                f"{record.name} cannot be {doing}: Kueue has not taken it up",
                advice="It has no Workload; the reason stands in %konduktor events.",
            )
        path = words.kueue(self.site.kueue, "workloads", self.site.namespace)
        return f"{path}/{sight.workload['metadata']['name']}"

    def _demand(self, what: str, verb: str, group: str, resource: str) -> None:
        """Say what cannot be done if this user has no right to that."""
        if not self.site.rights.allows(verb, group, resource):
            kind = resource + (f".{group}" if group else "")
            raise AccessDeniedError(
                f"{what}: you may not {verb} {kind} in {self.site.namespace}",
                advice="Ask for that right: jupyter konduktor rbac prints the Role that gives it.",
                status=403,
            )

    # --- looking after all of them

    def examine(self) -> Iterator[Finding]:
        """Look at everything that a job needs here."""
        return doctor.examine(self.site, self._settings)

    def collect_garbage(self, *, dry_run: bool = False) -> tuple[int, int]:
        """Remove what is kept here of jobs that ended long ago; the cluster removes its own part after a day."""
        keep = self._settings
        return self.site.shelf.collect(keep_days=keep.keep_days, keep_bytes=keep.keep_bytes, dry_run=dry_run)

    def collect_stored(self, *, dry_run: bool = False) -> Stored | None:
        """Remove what is old in the store that is set; what jobs on the cluster left, or still need, stays."""
        return self._submission.depot.collect(dry_run=dry_run)

    def close(self) -> None:
        """End watches and release what this process holds; jobs go on."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()
        self.site.client.close()
        self.site.shelf.close()


_GONE = (404, 409)
"""What a request that names the uid is answered if that job is there no more, or another one has its name."""


def _alone(jobset: Mapping[str, Any]) -> Sight:
    """Give what a JobSet tells by itself."""
    return Sight(jobset=jobset, workload=None, pods=())


_LOST_LOG = b"[konduktor: the log is lost: it went with its pod, and nobody had followed it from here]\n"
_LOST_REST = b"[konduktor: the rest of the output is lost: it went with its pod before it was read]\n"
_LATE_REST = b"[konduktor: the rest of the output is not here yet: the cluster was slow to give it; read it again]\n"


def _piece(data: bytes, offset: int, limit: int) -> LogChunk:
    """Give a piece of a log that is not kept anywhere."""
    start = max(0, len(data) + offset) if offset < 0 else min(offset, len(data))
    end = min(len(data), start + limit)
    return LogChunk(data[start:end], end, ended=end == len(data))
