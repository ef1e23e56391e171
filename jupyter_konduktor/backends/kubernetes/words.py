"""The words of the wire: labels, annotations, API paths, names in a pod, each as its API spells it.

The ``trainy.ai`` labels and the names in the pod are the contract of Trainy's Konduktor, whose clients read our jobs
and whose jobs we read.
"""

from __future__ import annotations

BACKEND = "kubernetes"

# --- API groups and paths

JOBSET_GROUP = "jobset.x-k8s.io"
JOBSET_VERSION = "v1alpha2"
KUEUE_GROUP = "kueue.x-k8s.io"
KUEUE_VERSIONS = ("v1beta2", "v1beta1")
"""Versions of Kueue's API that are understood, best first."""
BATCH_GROUP = "batch"
VISIBILITY_GROUP = "visibility.kueue.x-k8s.io"


def jobsets(namespace: str, name: str = "") -> str:
    """Give the path of a namespace's JobSets, or of one."""
    return f"/apis/{JOBSET_GROUP}/{JOBSET_VERSION}/namespaces/{namespace}/jobsets" + (f"/{name}" if name else "")


def kueue(version: str, resource: str, namespace: str = "", name: str = "") -> str:
    """Give the path of a resource of Kueue's, of a namespace or of the cluster."""
    where = f"namespaces/{namespace}/" if namespace else ""
    return f"/apis/{KUEUE_GROUP}/{version}/{where}{resource}" + (f"/{name}" if name else "")


def pending(version: str, namespace: str, queue: str) -> str:
    """Give the path of the visibility API's list of what waits in a LocalQueue."""
    return f"/apis/{VISIBILITY_GROUP}/{version}/namespaces/{namespace}/localqueues/{queue}/pendingworkloads"


def core(namespace: str, resource: str, name: str = "", sub: str = "") -> str:
    """Give the path of a namespaced resource of the core API (``pods``, ``secrets``, ...)."""
    return "/".join(part for part in (f"/api/v1/namespaces/{namespace}", resource, name, sub) if part)


def job(namespace: str, name: str) -> str:
    """Give the path of a Job."""
    return f"/apis/{BATCH_GROUP}/v1/namespaces/{namespace}/jobs/{name}"


# --- labels of Kueue and JobSet

QUEUE_NAME = "kueue.x-k8s.io/queue-name"
PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"
MAX_EXEC_TIME = "kueue.x-k8s.io/max-exec-time-seconds"
JOB_UID = "kueue.x-k8s.io/job-uid"  # on a Workload: the uid of its JobSet
REQUIRED_TOPOLOGY = "kueue.x-k8s.io/podset-required-topology"  # these three are annotations of pod templates
PREFERRED_TOPOLOGY = "kueue.x-k8s.io/podset-preferred-topology"
UNCONSTRAINED_TOPOLOGY = "kueue.x-k8s.io/podset-unconstrained-topology"
MULTIKUEUE = "kueue.x-k8s.io/multikueue"  # a value of spec.managedBy

JOBSET_NAME = "jobset.sigs.k8s.io/jobset-name"
JOBSET_UID = "jobset.sigs.k8s.io/jobset-uid"
RESTART_ATTEMPT = "jobset.sigs.k8s.io/restart-attempt"
JOB_INDEX = "jobset.sigs.k8s.io/job-index"
EXCLUSIVE_TOPOLOGY = "alpha.jobset.sigs.k8s.io/exclusive-topology"  # an annotation of a JobSet
REPLICATED_JOB = "jobset.sigs.k8s.io/replicatedjob-name"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"

# --- labels of Konduktor's contract

MANAGED = "trainy.ai/konduktor-managed"
JOB_NAME = "trainy.ai/job-name"
USER_ID = "trainy.ai/user-id"  # what "my jobs" goes by: see `jupyter_konduktor.backends.kubernetes.rights`
USERNAME = "trainy.ai/username"
ACCELERATOR = "trainy.ai/accelerator"
NUM_ACCELERATORS = "trainy.ai/num-accelerators"
ACCELERATOR_PROFILE = "trainy.ai/accelerator-profile"
PARENT = ("parent", "trainy")
STOP_USERID = "trainy.ai/stop-userid"
STOP_USERNAME = "trainy.ai/stop-username"

RESULT_CONDITION = "KonduktorResult"

# --- our own annotations on a JobSet

TASK = "jupyter-konduktor/task"
"""The task as JSON (`Task.to_json`, with the ``nonce`` and, if there is one, the ``store``)."""
ORIGIN = "jupyter-konduktor/origin"
"""Where it was submitted from, as JSON."""
KEY = "jupyter-konduktor/key"
"""SHA-256 of the idempotency key."""
SUBMITTED = "jupyter-konduktor/submitted"
"""The client's time in nanoseconds: puts jobs of one second in order."""
CANCELLED_BY = "jupyter-konduktor/cancelled-by"
CANCELLED_BECAUSE = "jupyter-konduktor/cancelled-because"
"""Why it was cancelled, where that was not a person's wish."""
STOPPED_BY = "jupyter-konduktor/stopped-by"
RUNNER = "jupyter-konduktor/runner"
"""On ConfigMaps, as a label: holds the runner of some version."""

# --- in the pod

REPLICATED_JOB_NAME = "workers"
CONTAINER = "konduktor-container"
OUTPUT_DIR = "/konduktor/output"
WORK_DIR = "/konduktor/work"
RUNNER_DIR = "/konduktor/runner"
PAYLOAD_DIR = "/konduktor/payload"
LINKS_DIR = "/konduktor/links"
LINKS = f"{LINKS_DIR}/urls"
"""The signed URLs of the store; whoever watches the job renews them."""
TERMINATION_LOG = "/dev/termination-log"
OUTPUT_VOLUME = "konduktor-output"
WORK_VOLUME = "konduktor-work"
SHM_VOLUME = "konduktor-shm"
RUNNER_VOLUME = "konduktor-runner"
PAYLOAD_VOLUME = "konduktor-payload"
LINKS_VOLUME = "konduktor-links"
