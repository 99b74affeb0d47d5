"""HAProxy's configuration as this Ray writes it, with our rules in it."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from serve_app import ingress
from serve_app.haproxy import BINARY, FAULTS, SLEEPS, STEERING, UPLOAD_SECONDS, amended
from serve_app.ingress import free_ports, haproxy_available

ROOT = Path(__file__).parents[2]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Serve's own configuration for so many replicas on a host, and the head's proxy behind them."""
    from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
    from ray.serve.config import HTTPOptions

    def write(replicas: int, host: str = "127.0.0.1") -> Path:
        path = tmp_path / "haproxy.cfg"
        servers = [ServerConfig(f"SERVE_REPLICA_{n}", "127.0.0.1", 30000 + n) for n in range(replicas)]
        behind = ServerConfig("SERVE_PROXY_ACTOR-1", "127.0.0.1", 8000)
        backend = BackendConfig("http-visage", "/", app_name="visage", servers=servers, fallback_server=behind)
        config = HAProxyConfig(socket_path=str(tmp_path / "admin.sock"), http_options=HTTPOptions(host=host))
        HAProxyApi(config, {"http-visage": backend}, str(path))._generate_config_file_internal()
        return path

    return write


@pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy")
@pytest.mark.parametrize(("replicas", "host", "listens"), [(0, "127.0.0.1", "127.0.0.1"), (2, "0.0.0.0", "*")])
def test_the_command_of_the_manifests_puts_in_every_rule_and_haproxy_takes_them(
    written: Callable[..., Path], replicas: int, host: str, listens: str, tmp_path: Path
) -> None:
    path = written(replicas, host)
    command = [sys.executable, "-c", "from serve_app.haproxy import as_told; as_told()", "-c", "-f", str(path)]
    # As on a pod, where Serve is told to start this command for HAProxy.
    told = {**os.environ, SLEEPS: "0", UPLOAD_SECONDS: "15", BINARY: "/opt/visage/bin/visage-haproxy"}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    text = path.read_text()
    for rule in ("wait-for-body time 15000ms", "if { path /healthz } !awake", "timeout http-request 10s"):
        assert text.count(rule) == 1, rule
    assert text.count("acl awake") == max(1, replicas)
    assert text.count("del-header ^") == len(STEERING)
    assert all((tmp_path / f"{status}.http").is_file() and f"errorfile {status} " in text for status in FAULTS)
    binds = re.findall(r"^ *bind (\S+)", text, re.MULTILINE)
    assert len(binds) == 3
    assert f"frontend http_frontend\n    bind {listens}:8000\n" in text  # where the endpoint was told to
    assert [bind for bind in binds if bind.startswith(("*", ":"))] == ["*:8000"] * (listens == "*")


def test_the_command_says_what_it_was_not_told(written: Callable[..., Path]) -> None:
    command = [sys.executable, "-c", "from serve_app.haproxy import as_told; as_told()", "-c", "-f", str(written(1))]
    told = {name: value for name, value in os.environ.items() if name != UPLOAD_SECONDS} | {SLEEPS: "0"}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.startswith(f"visage-haproxy: '{UPLOAD_SECONDS}' is not set; ")


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("frontend http_frontend", "frontend web", "0 times frontend http_frontend"),
        ("defaults\n    mode http", "defaults\n    log global\n    mode http", "0 times defaults"),
        ("bind *:", "bind [::]:", "1 times ports of metrics and statistics"),
        ("backend http-visage\n", "backend h1-visage\n", "0 backends http-* for the 2 replicas"),
    ],
)
def test_a_configuration_without_a_place_for_a_rule_starts_nothing(
    written: Callable[..., Path], old: str, new: str, missing: str
) -> None:
    text = written(2).read_text()
    assert amended(text, "/tmp", sleeps=False, upload_seconds=15)
    assert old in text
    with pytest.raises(ValueError, match=re.escape(missing)):
        amended(text.replace(old, new), "/tmp", sleeps=False, upload_seconds=15)


def test_free_ports_are_none_that_a_connection_may_be_given_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """HAProxy listens on them many seconds later, and meanwhile other processes connect to one another."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = free_ports(50)
    assert len(set(found)) == 50
    assert all(20_000 <= port < min(first, 30_000) for port in found)
    with socket.socket() as taken:
        taken.bind(("", found[0]))
        monkeypatch.setattr(ingress, "OWN_FIRST", found[0])
        monkeypatch.setattr(ingress, "OWN_LAST", found[0])
        (other,) = free_ports(1)  # where all are taken, one of the system's
        assert other >= first
    assert free_ports(1) == [found[0]]
