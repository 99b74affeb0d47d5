"""Who reaches whom on which port, by the policies and the pods' final labels: as the page's table says."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.k8s.documents import Documents, named, running, selects

ROOT = Path(__file__).parents[2]
NAMESPACE = "visage"
RAY = (8000, 8080, 8265, 10001, 44217, 44227)
STORES = (5000, 5432, 6379, 8333)
PORTS = (53, 443, 6443, 8443, *RAY, *STORES, 8089, 12345)  # the last stands for all others


@dataclass(frozen=True)
class Party:
    """A kind of pod, in this namespace or another, or an address outside of the cluster (without labels)."""

    name: str
    labels: dict[str, str] | None = None
    namespace: dict[str, str] | None = None  # the labels of another one


OTHERS = (
    Party("KubeRay's operator", {}, {"kubernetes.io/metadata.name": "kuberay-operator"}),
    Party("Prometheus", {}, {"kubernetes.io/metadata.name": "monitoring"}),
    Party("the ingress controller", {}, {"kubernetes.io/metadata.name": "ingress-nginx", "visage/reaches": "endpoint"}),
    Party("any other pod", {}, {"kubernetes.io/metadata.name": "default"}),
)
NAMES = Party("the cluster's DNS", {}, {"kubernetes.io/metadata.name": "kube-system"})
OUTSIDE = Party("outside")
CALLED = {
    "visage headgroup": "the jobs' head",
    "visage cpu": "the jobs' workers",
    "visage-endpoint headgroup": "the endpoint's head",
    "visage-endpoint replicas": "the endpoint's workers",
    "mlflow": "MLflow",
    "postgres": "PostgreSQL",
    "redis": "Redis",
    "objects": "the object store",
    "submitter": "a RayJob's submitter",
    "study-page": "the page of studies",
}


def is_named(peer: dict[str, Any], party: Party) -> bool:
    if "ipBlock" in peer:
        return party.labels is None and peer["ipBlock"]["cidr"] == "0.0.0.0/0"
    if party.labels is None:
        return False
    if "namespaceSelector" in peer:
        home = party.namespace or {"kubernetes.io/metadata.name": NAMESPACE}
        return selects(peer["namespaceSelector"], home) and selects(peer.get("podSelector", {}), party.labels)
    return party.namespace is None and selects(peer["podSelector"], party.labels)


def lets(policies: list[dict[str, Any]], way: str, pod: Party, other: Party, port: int) -> bool:
    """Whether the policies let `pod` be asked by (way Ingress), or ask (way Egress), the other one on a port."""
    if pod.labels is None or pod.namespace is not None:
        return True  # nobody's policy here
    bound = [p for p in policies if selects(p["podSelector"], pod.labels) and way in p["policyTypes"]]
    assert bound, pod  # by the one that denies
    return any(
        any(is_named(peer, other) for peer in rule["from" if way == "Ingress" else "to"])
        and port in [each["port"] for each in rule.get("ports", [{"port": port}])]
        for policy in bound
        for rule in policy.get(way.lower(), ())
    )


def reached(documents: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> dict[str, str]:
    """For each party whom it reaches and where, as the page says it."""
    policies = [each["spec"] for each in named(documents, "NetworkPolicy").values()]
    here = [Party(CALLED[pod.name], pod.labels) for pod in running([*documents, *jobs]) if pod.name in CALLED]
    found = {}
    for source in (*here, *OTHERS):
        told = []
        for target in (*here, OUTSIDE):
            if source.namespace is not None and target is OUTSIDE:
                continue
            ports = [
                port
                for port in PORTS
                if lets(policies, "Egress", source, target, port) and lets(policies, "Ingress", target, source, port)
            ]
            if ports:
                every = ports == list(PORTS)
                told.append(f"{target.name} {'everywhere' if every else ', '.join(map(str, ports))}")
        found[source.name] = "; ".join(told) or "nobody"
        if source.namespace is None:
            assert lets(policies, "Egress", source, NAMES, 53), source.name
    return found


@pytest.mark.parametrize("overlay", ["gpu", "production"])
def test_the_page_says_who_reaches_whom(rendered: Documents, overlay: str) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    column = ["gpu", "production"].index(overlay)
    rows = re.findall(
        r"^\| ([^|`]+) \| ([^|]+) \| ([^|]+) \|$", page.partition("| from |")[2].partition("\n\n")[0], re.M
    )
    said = {name: cells[column] for name, *cells in rows if cells[column] != "is not there"}
    assert said == reached(rendered[f"overlays/{overlay}"], rendered["jobs"])


def test_no_node_of_a_cluster_reaches_one_of_the_other(rendered: Documents) -> None:
    for overlay in ("local", "gpu", "production"):
        found = reached(rendered[f"overlays/{overlay}"], rendered["jobs"])
        for one, other in (("the jobs'", "the endpoint's"), ("the endpoint's", "the jobs'")):
            for node in ("head", "workers"):
                assert f"{other} " not in found[f"{one} {node}"], overlay
