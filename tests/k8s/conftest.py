"""The manifests as kubectl renders them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray_head import head

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
