"""What the operator's pages name is what the manifests, and KubeRay from them, make."""

import json
import re
import subprocess

from test_docs import ROOT, lines

from tests.k8s.documents import Documents, named

PAGES = ("kubernetes.md", "operate.md")
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service", "rayservice": "RayService"}
# What KubeRay makes of a RayCluster, a RayJob and a RayService, by its names and labels.
MADE = {("service", "visage-head-svc"), ("service", "visage-endpoint"), ("job", "tune-synthetic")}
LABELS = {"ray.io/cluster": "RayCluster", "ray.io/originated-from-cr-name": "RayService"}


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text()


def test_every_object_that_a_command_names_is_there(rendered: Documents) -> None:
    known = {(kind, name) for kind, title in KINDS.items() for name in named(rendered["base"], title)} | MADE
    found = set()
    for page in PAGES:
        commands = re.findall(r"kubectl [^`]*?(?=`|\n\n|\n    \S)", text(page))
        for kind, name in re.findall(rf"\b({'|'.join([*KINDS, 'job'])})[/ ]([a-z][a-z-]+)", "\n".join(commands)):
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
