"""`visage doctor` on a cluster: as a job there, whose answer is read from its output."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from jobs.cluster import Cluster
from jobs.package import runtime_env
from visage.errors import UserError
from visage.workflows.doctor.schema import Check, Examination

FREE_SECONDS = 10.0  # after which it is asked whether a CPU is free at all: what is found is told within 30 s
PENDING_SECONDS, LOOK_SECONDS = 60.0, 1.0


def examine_cluster(
    address: str, config: Path | None, settings: Sequence[str], variables: Sequence[str], *, image: bool, command: str
) -> Examination:
    """What `visage doctor` finds on the cluster of a job server, its nodes and what they reach from there.

    variables, image, command: as of `runtime_env`. Where no CPU is free for the look, that is what is found of each
    node. Raises UserError when the cluster does not answer.
    """
    given = [*([config.name] if config else []), *(part for each in settings for part in ("--set", each)), "--json"]
    cluster, output = Cluster(address), list[str]()
    with runtime_env(config, variables, image=image, command=command) as env:
        job = cluster.submit("visage-doctor", shlex.join(["python", "-m", "jobs.run", "doctor", *given]), env)
    if busy := _begun(cluster, job):
        return Examination(checks=busy)
    cluster.follow(job, output.append)
    lines = "".join(output).strip().splitlines()
    for line in reversed(lines):
        try:
            return Examination.model_validate_json(line)
        except ValidationError:
            continue
    said = lines[-1].removeprefix("visage: ") if lines else f"its job {job} says nothing; read the head's logs"
    raise UserError(f"--address {cluster.address}: {said.rstrip('.')}.")


def _begun(cluster: Cluster, job: str) -> list[Check]:
    """Wait until the look has begun; what is to be said of each node where none has a CPU for it, which ends it."""
    began = time.monotonic()
    while cluster.job(job).status == "PENDING":
        waited = time.monotonic() - began
        if waited > FREE_SECONDS and (cpus := cluster.cpus()) and all(free < 1 for free, _ in cpus.values()):
            cluster.stop(job)
            return [_busy(place, total) for place, (_, total) in cpus.items() if total] or [_none()]
        if waited > PENDING_SECONDS:
            cluster.stop(job)
            fault = f"a look does not begin within {PENDING_SECONDS:g} s; read the head's logs"
            raise UserError(f"--address {cluster.address}: {fault}.")
        time.sleep(LOOK_SECONDS)
    return []


def _busy(place: str, total: float) -> Check:
    found = f"no CPU was free of its {total:g}, so that it was not looked at"
    return Check.of(place, "node", ("broken", found, "wait for a job that `visage jobs` shows, or add a node"))


def _none() -> Check:
    mend = "add one, or look again when the cluster has grown"
    return Check.of("all", "nodes", ("broken", "none has a CPU for a look", mend))
