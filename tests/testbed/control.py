"""The control plane: etcd, the API server, the controllers, the scheduler, names and S3, with their flags."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.testbed import places
from tests.testbed.api import healthy
from tests.testbed.build import program
from tests.testbed.parts import Part
from tests.testbed.pki import Authority

ISSUER = "https://kubernetes.default.svc.cluster.local"
ETCD = f"https://127.0.0.1:{places.ETCD_PORT}"
ETCD_HEALTH = f"http://127.0.0.1:{places.ETCD_HEALTH_PORT}"
COREFILE = """cluster.local:53 {{
    bind {address}
    errors
    ready 127.0.0.1:{ready}
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 0
    }}
}}
# Any other name does not exist: without this a lookup of a pod that is yet to come is a failure, not an unknown name.
.:53 {{
    bind {address}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
"""


def parts(state: Path, authority: Authority) -> list[Part]:
    """The parts of the control plane, in the order they are started."""
    admin = authority.place / "admin.kubeconfig"
    return [
        Part("etcd", state, lambda: _etcd(state, authority), lambda: healthy(f"{ETCD_HEALTH}/health")),
        Part(
            "kube-apiserver",
            state,
            lambda: _apiserver(authority),
            lambda: healthy(f"https://127.0.0.1:{places.API_PORT}/readyz"),
        ),
        Part(
            "kube-controller-manager",
            state,
            lambda: _controller_manager(authority, admin),
            lambda: healthy("https://127.0.0.1:10257/healthz"),
        ),
        Part("kube-scheduler", state, lambda: _scheduler(admin), lambda: healthy("https://127.0.0.1:10259/healthz")),
        Part(
            "coredns",
            state,
            lambda: [str(program("coredns")), "-conf", str(state / "Corefile")],
            lambda: healthy(f"http://127.0.0.1:{places.DNS_READY_PORT}/ready"),
            prepare=lambda: _write_corefile(state / "Corefile", admin),
        ),
        Part("versitygw", state, lambda: _s3(state), _s3_answers, prepare=lambda: _make_bucket(state)),
    ]


def _etcd(state: Path, authority: Authority) -> list[str]:
    peer = f"http://127.0.0.1:{places.ETCD_PEER_PORT}"
    flags = {
        "name": "testbed",
        "data-dir": state / "etcd",
        "listen-client-urls": ETCD,
        "advertise-client-urls": ETCD,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"testbed={peer}",
        # Whoever can write here has the machine, so it takes nobody without a certificate.
        "client-cert-auth": "true",
        "trusted-ca-file": authority.certificate,
        "cert-file": authority.place / "server.crt",
        "key-file": authority.place / "server.key",
        "listen-metrics-urls": ETCD_HEALTH,
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return _command("etcd", flags)


def _apiserver(authority: Authority) -> list[str]:
    pki = authority.place
    flags = {
        "etcd-servers": ETCD,
        "etcd-cafile": authority.certificate,
        "etcd-certfile": pki / "admin.crt",
        "etcd-keyfile": pki / "admin.key",
        "bind-address": "127.0.0.1",
        "advertise-address": "127.0.0.1",
        "secure-port": places.API_PORT,
        "endpoint-reconciler-type": "none",
        "service-cluster-ip-range": places.SERVICE_RANGE,
        "authorization-mode": "Node,RBAC",
        "allow-privileged": "true",
        "profiling": "false",
        # By which the node has what it is said to have.
        "feature-gates": "MutatingAdmissionPolicy=true",
        "runtime-config": "admissionregistration.k8s.io/v1beta1=true",
        "client-ca-file": authority.certificate,
        "tls-cert-file": pki / "server.crt",
        "tls-private-key-file": pki / "server.key",
        "token-auth-file": pki / "tokens.csv",
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-certificate-authority": authority.certificate,
        "kubelet-client-certificate": pki / "admin.crt",
        "kubelet-client-key": pki / "admin.key",
        "service-account-issuer": ISSUER,
        "service-account-key-file": pki / "accounts.pub",
        "service-account-signing-key-file": pki / "accounts.key",
        "service-account-extend-token-expiration": "false",
        "proxy-client-cert-file": pki / "front-proxy.crt",
        "proxy-client-key-file": pki / "front-proxy.key",
        "requestheader-client-ca-file": authority.certificate,
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    }
    return _command("kube-apiserver", flags)


def _controller_manager(authority: Authority, admin: Path) -> list[str]:
    flags = {
        "kubeconfig": admin,
        "bind-address": "127.0.0.1",
        "leader-elect": "false",
        "profiling": "false",
        "root-ca-file": authority.certificate,
        "service-account-private-key-file": authority.place / "accounts.key",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        # A test of a lost node need not wait a minute; the kubelet renews its lease every two seconds.
        "node-monitor-period": "2s",
        "node-monitor-grace-period": "20s",
    }
    return _command("kube-controller-manager", flags)


def _scheduler(admin: Path) -> list[str]:
    flags = {"kubeconfig": admin, "bind-address": "127.0.0.1", "leader-elect": "false", "profiling": "false"}
    return _command("kube-scheduler", flags)


def _write_corefile(path: Path, admin: Path) -> None:
    path.write_text(COREFILE.format(address=places.BRIDGE_ADDRESS, ready=places.DNS_READY_PORT, kubeconfig=admin))


def _s3(state: Path) -> list[str]:
    keys = ["--access", places.S3_ACCESS_KEY, "--secret", places.S3_SECRET_KEY]
    address = f"{places.BRIDGE_ADDRESS}:{places.S3_PORT}"
    return [str(program("versitygw")), *keys, "--port", address, "--quiet", "posix", str(state / "s3")]


def _make_bucket(state: Path) -> None:
    """A folder is a bucket."""
    (state / "s3" / places.S3_BUCKET).mkdir(parents=True, exist_ok=True)


def _s3_answers() -> bool:
    with socket.create_connection((places.BRIDGE_ADDRESS, places.S3_PORT), timeout=1):
        return True


def _command(name: str, flags: dict[str, object]) -> list[str]:
    return [str(program(name)), *(f"--{flag}={value}" for flag, value in flags.items())]
