"""What the pods of rendered manifests ask for, in the words of docs/kubernetes.md's table."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MIN, MAX = "minReplicas", "maxReplicas"


@dataclass(frozen=True)
class Size:
    """memory: in GiB."""

    cpus: float = 0
    memory: float = 0
    gpus: int = 0

    def __add__(self, other: "Size") -> "Size":
        return Size(self.cpus + other.cpus, self.memory + other.memory, self.gpus + other.gpus)

    def __rmul__(self, count: int) -> "Size":
        return Size(count * self.cpus, count * self.memory, count * self.gpus)

    def __str__(self) -> str:
        words = [f"{round(self.cpus, 2):g} CPU{'s' * (self.cpus != 1)}", f"{round(self.memory, 2):g} GiB"]
        if self.gpus:
            words.append(f"{self.gpus} GPU{'s' * (self.gpus != 1)}")
        return ", ".join(words)


def gibibytes(quantity: str) -> float:
    """Kubernetes' 512Mi or 4Gi as a number."""
    return float(quantity[:-2]) * {"Mi": 1 / 1024, "Gi": 1, "Ti": 1024}[quantity[-2:]]


def size_of(containers: list[dict[str, Any]]) -> Size:
    """What the containers of one pod ask for together; of the autoscaler's options too, which look like a container."""
    total = Size()
    for each in containers:
        asked, limits = each["resources"]["requests"], each["resources"].get("limits", {})
        cpu = str(asked["cpu"])
        cpus = float(cpu[:-1]) / 1000 if cpu.endswith("m") else float(cpu)
        total += Size(cpus, gibibytes(asked["memory"]), int(limits.get("nvidia.com/gpu", 0)))
    return total


def sized(documents: list[dict[str, Any]], replicas: str) -> Iterator[tuple[int, Size]]:
    """Each kind of pod: how many there are, and what one asks for. replicas: MIN or MAX of a group of workers."""
    for each in documents:
        if each["kind"] in ("Deployment", "StatefulSet"):
            yield each["spec"]["replicas"], size_of(each["spec"]["template"]["spec"]["containers"])
        elif each["kind"] in ("RayCluster", "RayService"):
            cluster = each["spec"].get("rayClusterConfig", each["spec"])
            head = cluster["headGroupSpec"]["template"]["spec"]["containers"]
            yield 1, size_of([*head, cluster["autoscalerOptions"]])
            for group in cluster["workerGroupSpecs"]:
                yield group[replicas], size_of(group["template"]["spec"]["containers"])


def volumes(documents: list[dict[str, Any]]) -> float:
    """GiB of all volumes that are claimed, by a claim of its own or by a StatefulSet's."""
    claims = [each for each in documents if each["kind"] == "PersistentVolumeClaim"]
    for each in documents:
        claims += each.get("spec", {}).get("volumeClaimTemplates", ())
    return sum(gibibytes(claim["spec"]["resources"]["requests"]["storage"]) for claim in claims)
