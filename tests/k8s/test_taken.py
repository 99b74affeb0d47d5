"""`make cluster` where a port of its is another's."""

import socket
from pathlib import Path

import pytest

from k8s.one_machine import cluster
from serve_app.ingress import free_ports
from visage.errors import UserError


@pytest.mark.parametrize("taken", ["JOB_PORT", "MLFLOW_PORT"])
def test_a_port_that_is_taken_is_named_before_anything_starts(tmp_path: Path, taken: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port, [free] = other.getsockname()[1], free_ports(1)
        jobs, mlflow = (port, free) if taken == "JOB_PORT" else (free, port)
        with (
            pytest.raises(UserError, match=f"^port {port}: .* choose another with {taken}={port + 1}"),
            cluster(tmp_path / "cluster", job_port=jobs, mlflow_port=mlflow),
        ):
            pass
    assert not (tmp_path / "cluster").exists()
