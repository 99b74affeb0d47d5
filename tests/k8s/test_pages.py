"""What the operator's pages name is what the manifests, and KubeRay from them, make."""

import json
import re
import subprocess
from unittest.mock import ANY

from test_docs import ROOT, lines

from tests.k8s.documents import Documents, named
from tests.k8s.sizes import MAX, MIN, Size, sized, volumes

PAGES = ("kind.md", "kubernetes.md", "operate.md")
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service", "rayservice": "RayService"}
# What KubeRay makes of a RayCluster, a RayJob and a RayService, by its names and labels, and a component's.
MADE = {("service", "visage-head-svc"), ("service", "visage-endpoint"), ("job", "tune-synthetic")}
MADE |= {("deployment", "study-page")}
PARTS = ("replica", "worker node", "machine", "head", "Redis", "MLflow", "PostgreSQL", "object store", "bucket")
LABELS = {"ray.io/cluster": "RayCluster", "ray.io/originated-from-cr-name": "RayService"}


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def unfolded(page: str) -> str:
    """Its text with each command on one line."""
    return text(page).replace("\\\n", " ")


def of_kubectl(page: str) -> list[str]:
    """Its commands of kubectl, each until its backtick, its paragraph or the next line of its block ends it."""
    return re.findall(r"kubectl [^`]*?(?=`|\n\n|\n    \S)", text(page))


def test_every_object_that_a_command_names_is_there(rendered: Documents) -> None:
    known = {(kind, name) for kind, title in KINDS.items() for name in named(rendered["base"], title)} | MADE
    # `logs deployment/mlflow`; a patch names its object as `rayservice visage-endpoint`.
    object_named = re.compile(rf"\b({'|'.join([*KINDS, 'job'])})(?:/|(?<=rayservice) )([a-z][a-z-]+)")
    found = {pair for page in PAGES for command in of_kubectl(page) for pair in object_named.findall(command)}
    assert len(found) >= 7
    assert found <= known


def test_every_label_that_a_command_selects_by_is_there(rendered: Documents) -> None:
    selected = [each for page in PAGES for each in re.findall(r"--selector\s+([\w./-]+)=([\w-]+)", text(page))]
    assert len(selected) >= 4
    for label, value in selected:
        if label in LABELS:
            assert value in named(rendered["base"], LABELS[label])
        else:
            # KubeRay's own, as the policies and budgets have them, and tests/k8s/documents.py.
            assert (label, value) in {("ray.io/node-type", "head"), ("ray.io/is-ray-node", "yes")}


def test_every_secret_that_is_rotated_has_the_keys_that_are_read(rendered: Documents) -> None:
    made = dict(re.findall(r"kubectl create secret generic (visage-\S+)([^\n]*)", unfolded("kubernetes.md")))
    rotated = dict(re.findall(r"\n    replace (\S+)([^\n]*)", unfolded("operate.md")))
    assert made.keys() == rotated.keys()
    for name in made:
        first, later = (re.findall(r"--from-(?:literal|file)=([\w.-]+)=", words[name]) for words in (made, rotated))
        assert sorted(first) == sorted(later), name


def test_all_is_taken_away_in_an_order_that_ends() -> None:
    """KubeRay lets a cluster go when a job has cleaned Redis up, which needs the namespace and Redis."""
    [row] = re.findall(r"^\| take all of it away \|.*$", text("kubernetes.md"), re.MULTILINE)
    clusters, rest = row.index("kubectl delete rayjob,rayservice,raycluster --all --wait"), row.index("delete -k")
    assert clusters < rest


def test_the_table_of_failures_names_every_part() -> None:
    said = text("operate.md").partition("## When something fails")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \|", said, re.MULTILINE)
    for part in PARTS:
        assert any(part in row for row in rows), part


def test_the_page_says_which_driver_cuda_needs() -> None:
    cuda = re.findall(r"nvidia/cuda:(\d+)\.", (ROOT / "k8s" / "Dockerfile").read_text())
    assert cuda == ["13"]
    assert "a driver of 580 or later, which CUDA 13 needs" in " ".join(text("kubernetes.md").split())


def test_the_patch_of_the_endpoint_changes_its_cluster(rendered: Documents) -> None:
    """KubeRay builds a new cluster for any change of rayClusterConfig but the groups' sizes."""
    patched = [line for line in lines(ROOT / "docs" / "operate.md") if line.startswith(("POD=", "kubectl patch"))]
    told = "kubectl() { printf '%s\n' \"$@\"; }"  # the shell's kubectl prints its words, one a line
    script = "\n".join([told, *patched])
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()
    assert words[:5] == ["patch", "rayservice", "visage-endpoint", "--type", "merge"]
    patch = json.loads(words[words.index("--patch") + 1])
    annotated = {"template": {"metadata": {"annotations": ANY}}}
    assert patch == {"spec": {"rayClusterConfig": {"headGroupSpec": annotated}}}
    cluster = named(rendered["base"], "RayService")["visage-endpoint"]["spec"]["rayClusterConfig"]
    assert cluster["headGroupSpec"]["template"]["metadata"]["labels"]  # there is what the patch adds to


def test_the_page_says_how_large_a_cluster_must_be(rendered: Documents) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.].*?) \| (.*?) \| (.*?) \| (.*?) \|$", text("kubernetes.md"), re.MULTILINE)
    assert [row[0] for row in rows] == ["local", "gpu", "production"]
    for overlay, *cells in rows:
        documents = rendered[f"overlays/{overlay}"]
        rest, most = (sum((count * size for count, size in sized(documents, of)), Size()) for of in (MIN, MAX))
        largest = max((size for _, size in sized(documents, MAX)), key=lambda size: (size.gpus, size.memory))
        assert cells == [str(rest), str(most), str(largest), f"{volumes(documents):g} GiB"], overlay
