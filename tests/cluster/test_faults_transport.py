"""A watch while the API server itself is stopped, and the history it needs is gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_konduktor.backends.kubernetes.api.client import Client
from jupyter_konduktor.backends.kubernetes.api.reflector import Reflector
from tests.cluster.proxy import Proxy, wait_until
from tests.cluster.test_transport import Recorder, end, make, maps
from tests.testbed.cluster import Cluster, Namespace


@pytest.mark.alone
def test_a_watch_outlives_the_api_server_and_a_compaction(
    cluster: Cluster, namespace: Namespace, tmp_path: Path
) -> None:
    direct = Client.connect(kubeconfig=str(namespace.kubeconfig))
    with Proxy.before(namespace.kubeconfig) as proxy:
        client = Client.connect(kubeconfig=str(proxy.kubeconfig(namespace.kubeconfig, tmp_path / "kubeconfig")))
        sink = Recorder()
        reflector = Reflector(client, "maps", maps(client), sink)
        reflector.target("of=test", relist=True)
        make(direct, "kept")
        wait_until(lambda: "kept" in sink.objects)
        with cluster.stopped("kube-apiserver"):
            wait_until(lambda: sink.reached)
        wait_until(lambda: sink.reached[-1] is None)
        make(direct, "after")
        wait_until(lambda: sink.seen("ADDED", "after"))
        lists = len(sink.lists)
        assert [trouble is None for trouble in sink.reached] == [False, True]

        proxy.refuse()
        make(direct, "unseen")
        direct.delete(maps(direct, "kept"))
        cluster.compact()
        with cluster.stopped("kube-apiserver"):  # which forgets what it kept of the past
            pass
        proxy.accept()
        wait_until(lambda: len(sink.lists) > lists)
        assert sorted(sink.objects) == ["after", "unseen"]
        end(reflector)
        client.close()
    direct.close()
