"""What a machine or a cluster has, and how many trainings fit there side by side."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

from visage.config.experiment import Train
from visage.errors import UserError

T = TypeVar("T")
PROBE_SECONDS = 60.0  # for a node to start a process and look
DRIVER_CPUS = "VISAGE_DRIVER_CPUS"  # how many of its node's CPUs the job itself holds, which Ray does not tell it
GROWING = 4  # trainings at once on a cluster that grows, unless the user says how many


def concurrency(nodes: Iterable[Mapping[str, float]], train: Train) -> int:
    """Trainings that fit at once. nodes: the CPU and GPU count of each. Raises UserError when not even one fits.

    Counted worker by worker on each node, as a worker cannot be split over two.
    """
    nodes = list(nodes)
    workers = sum(_workers(node, train) for node in nodes)
    name, needed = ("min_workers", train.min_workers) if train.min_workers else ("workers", train.workers)
    if workers < needed:
        has = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU"))
        raise UserError(
            f"train.{name} = {needed}, with {train.cpus_per_worker:g} CPUs and {train.gpus_per_worker:g} GPUs each, do "
            f"not fit here, where there are {has} on {len(nodes)} node(s); ask for less or add nodes."
        )
    return workers // train.workers


def room(train: Train, at_most: int | None = None) -> int:
    """Trainings that may run at once on the Ray in use. at_most: the user's own bound.

    Where an autoscaler adds nodes when work waits for them, what is there now says nothing: then it is at_most, or
    GROWING. Raises UserError as `concurrency`.
    """
    if _grows():
        return at_most or GROWING
    fits = concurrency(cluster_nodes(), train)
    return min(at_most or fits, fits)


def _grows() -> bool:
    """Whether an autoscaler (Ray's second, which KubeRay runs beside the head) has reported to this Ray."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address)
    return status.stats.autoscaler_version != "0"


def _workers(node: Mapping[str, float], train: Train) -> int:
    fits = node.get("CPU", 0) / train.cpus_per_worker
    if 0 < train.gpus_per_worker < 1:  # shares of a GPU do not add up over several GPUs
        fits = min(fits, node.get("GPU", 0) * int(1 / train.gpus_per_worker + 1e-9))
    elif train.gpus_per_worker:
        fits = min(fits, node.get("GPU", 0) // train.gpus_per_worker)
    return int(fits + 1e-9)


def cautions(train: Train) -> list[str]:
    """One sentence for each way in which GPUs stay idle."""
    import torch

    found = []
    if train.gpus_per_worker > 1:
        found.append(
            f"train.gpus_per_worker = {train.gpus_per_worker:g}: a worker computes on one GPU and the others stay "
            "idle; set it to 1, and train.workers to the number of GPUs."
        )
    if not train.gpus_per_worker and not os.environ.get("RAY_ADDRESS") and torch.cuda.is_available():
        found.append(
            "train.gpus_per_worker = 0: the training runs on the CPU and this machine's GPU stays idle; set "
            "train.gpus_per_worker=1 to use it."
        )
    return found


def worker_threads(train: Train) -> int:
    """CPU threads of a worker or a trial: the cores that it was given."""
    return max(1, int(train.cpus_per_worker))


def this_machine() -> list[dict[str, float]]:
    """The resources of this machine, as `cluster_nodes` gives those of a cluster."""
    import torch

    return [{"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count()}]


def cluster_nodes() -> list[dict[str, float]]:
    """The resources of each living node of the Ray in use, without the CPUs that the job itself holds on its own."""
    import ray

    own, held = ray.get_runtime_context().get_node_id(), float(os.environ.get(DRIVER_CPUS, 0))
    alive = [{**node, "CPU": node["Resources"].get("CPU", 0)} for node in ray.nodes() if node["Alive"]]
    # Of several nodes on one machine Ray joins the head, while the job's CPU is another's: one with CPUs to spare.
    [joined] = [node for node in alive if node["NodeID"] == own]
    near = [node for node in alive if node["NodeManagerAddress"] == joined["NodeManagerAddress"]]
    holder = joined if joined["CPU"] >= held else max(near, key=lambda node: node["CPU"])
    return [{**node["Resources"], "CPU": node["CPU"] - held * (node is holder)} for node in alive]


def ask_nodes(question: Callable[..., T], *given: Any, seconds: float) -> dict[str, T | None]:
    """What `question` answers on each living node of the Ray in use, by the node's address; None where none comes.

    It is handed what is given, the address and the resources that Ray counts there.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    asked = {node["NodeID"]: (*given, node["NodeManagerAddress"], node["Resources"]) for node in alive}
    answers = _answers(question, asked, seconds)
    return {node["NodeManagerAddress"]: answers.get(node["NodeID"]) for node in alive}


def require_seen(folder: Path) -> None:
    """Raises UserError when a node of the Ray in use, this one left out, does not see a folder that is on this one.

    A node that does not answer is none to run anything on, and is passed over.
    """
    import ray

    own = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU") and node["NodeID"] != own]
    if not others:
        return
    mark = folder / f".seen-{token_hex(4)}"
    mark.touch()
    try:
        seen = _answers(Path.exists, {node["NodeID"]: (mark,) for node in others}, PROBE_SECONDS)
        for node in others:
            if seen.get(node["NodeID"]) is False:
                raise UserError(f"{node['NodeManagerAddress']}: {unseen(folder)}")
    finally:
        mark.unlink(missing_ok=True)


def _answers(question: Callable[..., T], given: Mapping[str, tuple[Any, ...]], seconds: float) -> dict[str, T]:
    """What `question` answers on nodes, by their ids; without those that do not answer. given: its arguments."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0)(question)
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(*arguments): node
        for node, arguments in given.items()
    }
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=seconds)
    found = {}
    for answer in answered:
        with suppress(RayError):  # the node went meanwhile
            found[asked[answer]] = ray.get(answer)
    return found


def unseen(folder: Path) -> str:
    """What is wrong with a node that does not see a folder, as the end of a sentence."""
    return (
        f"this node does not see {folder}, where the driver finds what trials and runs write; give all nodes one file "
        "system there (VISAGE_HOME), or give train.storage the address of a bucket."
    )
