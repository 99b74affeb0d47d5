"""The manifests as kubectl renders them; the small cluster that `make cluster` starts."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray_head import head

from k8s.image import build, podman
from k8s.one_machine import Parts, cluster
from k8s.servers import POSTGRES
from serve_app.ingress import free_ports

__all__ = ["head"]

ROOT = Path(__file__).parents[2]
FOLDERS = ("base", "overlays/local", "overlays/gpu", "overlays/production", "jobs", "monitoring")


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[dict[str, Any]]]:
    """The documents of each kustomization, by its folder."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    found = {}
    for folder in FOLDERS:
        done = subprocess.run(["kubectl", "kustomize", ROOT / "k8s" / folder], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found[folder] = list(yaml.safe_load_all(done.stdout))
    return found


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can enter, which pytest's own is not; skips without PostgreSQL."""
    if not list(Path(POSTGRES).glob("*/bin/initdb")):
        pytest.skip("PostgreSQL is not installed (Debian's package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="visage-cluster-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def parts(open_folder: Path) -> Iterator[Parts]:
    """All of the cluster, for the tests of `make soak`: it takes a minute or more to come up."""
    jobs, mlflow = free_ports(2)
    with cluster(open_folder, job_port=jobs, mlflow_port=mlflow) as made:
        yield made


@pytest.fixture(scope="session")
def image() -> str:
    """The image, built without a registry; skips where that cannot be. A second build finds all but the code done."""
    for program in ("podman", "runc", "mmdebstrap"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (Debian's podman, runc, mmdebstrap make and run the image)")
    if os.geteuid():
        pytest.skip("only root makes networks of its own for pods, and bases by mmdebstrap")
    build(podman(), "gpu", "localhost/visage-test:gpu", "debian")
    return "localhost/visage-test:gpu"
