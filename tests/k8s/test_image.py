"""The image of k8s/Dockerfile, built here and run as the manifests lock it. Its pods are in test_pods.py."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from k8s.image import TARGETS, limits, podman

soak = pytest.mark.soak

ROOT = Path(__file__).parents[2]
LOCKED = ("--user=10001:10001", "--passwd=false", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all",
          "--security-opt=no-new-privileges", "--network=none", "--tmpfs=/tmp:mode=1777")  # fmt: skip


def locked(image: str, *command: str) -> subprocess.CompletedProcess[str]:
    words = [*podman(), "run", "--rm", *limits(), *LOCKED, image, *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


def inspected(image: str) -> dict[str, object]:
    done = subprocess.run([*podman(), "image", "inspect", image], capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)[0]
    return found


@soak
@pytest.mark.timeout(3600)
def test_its_command_runs_locked(image: str) -> None:
    done = locked(image, "visage", "--help")
    assert done.returncode == 0, done.stderr
    assert "submit" in done.stdout
    who = locked(image, "sh", "-c", "id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; touch /opt/visage/x")
    assert who.stdout.split() == ["10001", "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    assert "Read-only file system" in who.stderr


@soak
@pytest.mark.timeout(3600)
def test_it_runs_as_the_manifests_do_when_nobody_says_so(image: str) -> None:
    config = inspected(image)["Config"]
    assert isinstance(config, dict)
    assert config["User"] == "10001:10001"
    assert "NVIDIA_VISIBLE_DEVICES=void" in config["Env"]


@soak
@pytest.mark.timeout(3600)
def test_it_says_what_it_is(image: str) -> None:
    labels = inspected(image)["Labels"]
    assert isinstance(labels, dict)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = {name.rpartition(".")[2]: value for name, value in labels.items() if "opencontainers" in name}
    assert said["title"] == project["name"]
    assert said["version"] == project["version"]
    assert said["licenses"] == project["license"]
    assert project["description"].startswith(said["description"])
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    assert said["revision"] == (head.stdout.strip() or "unknown")


@soak
@pytest.mark.timeout(3600)
def test_it_lists_what_it_is_made_of(image: str) -> None:
    bill = json.loads(locked(image, "cat", "/app/sbom.json").stdout)
    assert bill["bomFormat"] == "CycloneDX"
    made = {each["name"].lower().replace("_", "-"): each["version"] for each in bill["components"]}
    said = "import importlib.metadata as m; print(*{d.name + '==' + d.version for d in m.distributions()}, sep='\\n')"
    inside = dict(line.split("==") for line in locked(image, "python", "-c", said).stdout.split())
    assert {name.lower().replace("_", "-"): version for name, version in inside.items()} == made
    assert {"torch", "ray", "mlflow", "visage"} <= made.keys()
    assert not made.keys() & {"cyclonedx-bom", "pytest"}


@soak
@pytest.mark.timeout(3600)
def test_a_change_of_the_code_changes_a_few_megabytes(image: str) -> None:
    done = subprocess.run([*podman(), "history", "--format=json", image], capture_output=True, text=True, check=True)
    newest_first = [layer["size"] for layer in json.loads(done.stdout)]
    [needs] = [number for number, size in enumerate(newest_first) if size > 10**9]
    assert sum(newest_first[:needs]) < 20 * 10**6


@soak
@pytest.mark.timeout(3600)
def test_nothing_of_how_it_was_built_stays_in_it(image: str) -> None:
    """No settings of pip, which may hold an address or a key; none of the tools that build."""
    done = locked(image, "sh", "-c", "cat /etc/pip.conf /src/*; ls /opt")
    assert done.stdout.split() == ["visage"], done.stdout


def refused(*arguments: str, path: str | None = None) -> str:
    """What `make image` says, and nothing else, where it cannot."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", **({"PATH": path} if path else {})}
    command = [sys.executable, ROOT / "k8s" / "image.py", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    [said] = done.stderr.splitlines()
    return said


def test_what_it_cannot_build_is_said_in_a_sentence(tmp_path: Path) -> None:
    assert "phone: is no target" in refused("phone")
    assert "neither can be used here" in refused("cpu", path=str(tmp_path))


def test_the_page_on_kubernetes_names_its_targets() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (ROOT / "k8s" / "Dockerfile").read_text(), re.MULTILINE)
    assert {*TARGETS} <= {*stages}
    assert "make image" in page
    assert all(f":0.1.0-{target}" in page for target in TARGETS)
