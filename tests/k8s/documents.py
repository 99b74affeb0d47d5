"""What the tests look for in the rendered manifests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

DEPLOYED = ("base", "overlays/local", "overlays/gpu", "overlays/production")
Documents = dict[str, list[dict[str, Any]]]


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in documents if each["kind"] == kind}


def pods(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod template in a document, with where it stands."""
    if isinstance(node, dict):
        if "containers" in node:
            yield path, node
        for key, value in node.items():
            yield from pods(value, f"{path}/{key}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from pods(value, f"{path}/{number}")


def all_pods(rendered: Documents) -> list[tuple[str, dict[str, Any]]]:
    found = [
        (f"{folder} {each['kind']} {each['metadata']['name']}{path}", pod)
        for folder, documents in rendered.items()
        for each in documents
        for path, pod in pods(each)
    ]
    assert len(found) > 20
    return found


@dataclass(frozen=True)
class Pod:
    """A kind of pod as it is in the cluster: KubeRay gives labels of its own, which those of a template override."""

    name: str
    count: int
    labels: dict[str, str]
    spec: dict[str, Any]


def running(documents: list[dict[str, Any]]) -> list[Pod]:
    """The kinds of pods that these documents make, with their number at rest."""
    found = []
    for each in documents:
        name, spec = each["metadata"]["name"], each.get("spec", {})
        if each["kind"] in ("Deployment", "StatefulSet"):
            template = spec["template"]
            found.append(Pod(name, spec["replicas"], template["metadata"]["labels"], template["spec"]))
        elif each["kind"] == "RayJob":
            template = spec["submitterPodTemplate"]
            found.append(Pod("submitter", 1, template["metadata"]["labels"], template["spec"]))
        elif each["kind"] in ("RayCluster", "RayService"):
            cluster = spec.get("rayClusterConfig", spec)
            head = cluster["headGroupSpec"] | {"groupName": "headgroup", "replicas": 1}
            for group in (head, *cluster["workerGroupSpecs"]):
                kind = "head" if group is head else "worker"
                labels = {
                    "ray.io/is-ray-node": "yes",
                    "ray.io/cluster": name,
                    "ray.io/node-type": kind,
                    "ray.io/group": group["groupName"],
                    "ray.io/identifier": f"{name}-{kind}",
                    "app.kubernetes.io/name": "kuberay",
                    "app.kubernetes.io/created-by": "kuberay-operator",
                }
                template = group["template"]
                labels |= template["metadata"]["labels"]
                found.append(Pod(f"{name} {group['groupName']}", group["replicas"], labels, template["spec"]))
    return found


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of labels (matchLabels, matchExpressions with In and Exists) takes these."""
    for each in selector.get("matchExpressions", ()):
        if each["operator"] == "Exists":
            taken = each["key"] in labels
        else:
            assert each["operator"] == "In", each
            taken = labels.get(each["key"]) in each["values"]
        if not taken:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()
