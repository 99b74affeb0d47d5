"""What the operator's pages name is what the manifests, and KubeRay from them, make."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from test_docs import ROOT, lines

from tests.k8s.documents import Documents, named

PAGES = ("kind.md", "kubernetes.md", "operate.md")
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service", "rayservice": "RayService"}
# What KubeRay makes of a RayCluster, a RayJob and a RayService, by its names and labels, and a component's.
MADE = {("service", "visage-head-svc"), ("service", "visage-endpoint"), ("job", "tune-synthetic")}
MADE |= {("deployment", "study-page")}
LABELS = {"ray.io/cluster": "RayCluster", "ray.io/originated-from-cr-name": "RayService"}


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def test_every_object_that_a_command_names_is_there(rendered: Documents) -> None:
    known = {(kind, name) for kind, title in KINDS.items() for name in named(rendered["base"], title)} | MADE
    found = set()
    for page in PAGES:
        commands = re.findall(r"kubectl [^`]*?(?=`|\n\n|\n    \S)", text(page))
        for kind, name in re.findall(
            rf"\b({'|'.join([*KINDS, 'job'])})(?:/|(?<=rayservice) )([a-z][a-z-]+)", "\n".join(commands)
        ):
            found.add((kind, name))
    assert len(found) >= 7
    assert found <= known


def test_every_label_that_a_command_selects_by_is_there(rendered: Documents) -> None:
    selected = [each for page in PAGES for each in re.findall(r"--selector\s+([\w./-]+)=([\w-]+)", text(page))]
    assert len(selected) >= 4
    for label, value in selected:
        if label in LABELS:
            assert value in named(rendered["base"], LABELS[label])
        else:
            assert (label, value) == ("ray.io/node-type", "head")  # as the policies and budgets have it


def test_every_secret_that_is_rotated_has_the_keys_that_are_read(rendered: Documents) -> None:
    made = dict(
        re.findall(r"kubectl create secret generic (visage-\S+)([^\n]*)", text("kubernetes.md").replace("\\\n", " "))
    )
    rotated = dict(re.findall(r"\n    replace (\S+)([^\n]*)", text("operate.md").replace("\\\n", " ")))
    assert made.keys() == rotated.keys()
    for name, words in rotated.items():
        keys = [re.findall(r"--from-(?:literal|file)=([\w.-]+)=", each) for each in (words, made[name])]
        assert sorted(keys[0]) == sorted(keys[1]), name


def test_all_is_taken_away_in_an_order_that_ends() -> None:
    """KubeRay lets a cluster go when a job has cleaned Redis up, which needs the namespace and Redis."""
    [row] = re.findall(r"^\| take all of it away \|.*$", text("kubernetes.md"), re.MULTILINE)
    clusters, rest = row.index("kubectl delete rayjob,rayservice,raycluster --all --wait"), row.index("delete -k")
    assert clusters < rest


def test_the_table_of_failures_names_every_part() -> None:
    said = text("operate.md").partition("## When something fails")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", said, re.MULTILINE)
    for part in (
        "replica",
        "worker node",
        "machine",
        "head",
        "Redis",
        "MLflow",
        "PostgreSQL",
        "object store",
        "bucket",
    ):
        assert any(part in row for row in rows), part


def test_the_page_says_which_driver_cuda_needs() -> None:
    cuda = re.findall(r"nvidia/cuda:(\d+)\.", (ROOT / "k8s" / "Dockerfile").read_text())
    assert cuda == ["13"]
    assert "a driver of 580 or later, which CUDA 13 needs" in " ".join(text("kubernetes.md").split())


def test_the_patch_of_the_endpoint_changes_its_cluster(rendered: Documents) -> None:
    """KubeRay builds a new cluster for any change of rayClusterConfig but the groups' sizes."""
    patched = [line for line in lines(ROOT / "docs" / "operate.md") if line.startswith(("POD=", "kubectl patch"))]
    said = subprocess.run(["bash", "-euc", "kubectl() { printf '%s\n' \"$@\"; }\n" + "\n".join(patched)],
                          capture_output=True, text=True, check=True).stdout.splitlines()  # fmt: skip
    assert said[:5] == ["patch", "rayservice", "visage-endpoint", "--type", "merge"]
    patch = json.loads(said[said.index("--patch") + 1])
    at, where = patch["spec"], named(rendered["base"], "RayService")["visage-endpoint"]["spec"]
    for key in ("rayClusterConfig", "headGroupSpec", "template", "metadata"):
        [(name, at)] = at.items()
        assert name == key
        where = where[key]
    assert "annotations" in at
    assert where["labels"]


def test_the_page_says_how_large_a_cluster_must_be(rendered: Documents) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.].*?) \| (.*?) \| (.*?) \| (.*?) \|$", text("kubernetes.md"), re.MULTILINE)
    assert [row[0] for row in rows] == ["local", "gpu", "production"]
    for overlay, *cells in rows:
        documents = rendered[f"overlays/{overlay}"]
        rest, most = (sum((count * each for count, each in sized(documents, size)), Size()) for size in (MIN, MAX))
        largest = max((each for _, each in sized(documents, MAX)), key=lambda size: (size.gpus, size.memory))
        volumes = sum(gibibytes(each["resources"]["requests"]["storage"]) for each in claims(documents))
        assert cells == [str(rest), str(most), str(largest), f"{volumes:g} GiB"], overlay


MIN, MAX = "minReplicas", "maxReplicas"


@dataclass(frozen=True)
class Size:
    cpus: float = 0
    memory: float = 0
    gpus: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.cpus + other.cpus, self.memory + other.memory, self.gpus + other.gpus)

    def __rmul__(self, count: int) -> "Size":
        return Size(count * self.cpus, count * self.memory, count * self.gpus)

    def __str__(self) -> str:
        words = [f"{round(self.cpus, 2):g} CPU{'s' * (self.cpus != 1)}", f"{round(self.memory, 2):g} GiB"]
        return ", ".join([*words, *([f"{self.gpus} GPU{'s' * (self.gpus != 1)}"] if self.gpus else [])])


def gibibytes(quantity: str) -> float:
    return float(quantity[:-2]) * {"Mi": 1 / 1024, "Gi": 1, "Ti": 1024}[quantity[-2:]]


def size_of(containers: list[dict[str, Any]]) -> Size:
    total = Size()
    for each in containers:
        asked, limits = each["resources"]["requests"], each["resources"].get("limits", {})
        cpu = str(asked["cpu"])
        cpus = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
        total += Size(cpus, gibibytes(asked["memory"]), int(limits.get("nvidia.com/gpu", 0)))
    return total


def sized(documents: list[dict[str, Any]], replicas: str) -> Iterator[tuple[int, Size]]:
    """Each kind of pod: how many there are, and what one asks for."""
    for each in documents:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["spec"]["replicas"], size_of(each["spec"]["template"]["spec"]["containers"])
        elif each["kind"] in ("RayCluster", "RayService"):
            cluster = each["spec"].get("rayClusterConfig", each["spec"])
            head = cluster["headGroupSpec"]["template"]["spec"]["containers"]
            yield 1, size_of([*head, cluster["autoscalerOptions"]])
            for group in cluster["workerGroupSpecs"]:
                yield group[replicas], size_of(group["template"]["spec"]["containers"])


def claims(documents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in documents:
        if each["kind"] == "PersistentVolumeClaim":
            yield each["spec"]
        for template in each.get("spec", {}).get("volumeClaimTemplates", ()):
            yield template["spec"]
