"""`visage doctor` on a cluster: as a job there, whose answer is read from its output."""

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from jobs.cluster import Cluster
from jobs.package import runtime_env
from visage.errors import UserError
from visage.workflows.doctor.schema import Examination

PENDING_SECONDS, LOOK_SECONDS = 60.0, 1.0


def examine_cluster(
    address: str, config: Path | None, settings: Sequence[str], variables: Sequence[str], *, image: bool, command: str
) -> Examination:
    """What `visage doctor` finds on the cluster of a job server, its nodes and what they reach from there.

    variables, image, command: as of `runtime_env`. Raises UserError when the cluster does not answer, or has no CPU
    free for the look.
    """
    given = [*([config.name] if config else []), *(part for each in settings for part in ("--set", each)), "--json"]
    cluster, output = Cluster(address), list[str]()
    with runtime_env(config, variables, image=image, command=command) as env:
        job = cluster.submit("visage-doctor", shlex.join(["python", "-m", "jobs.run", "doctor", *given]), env)
    _begun(cluster, job)
    cluster.follow(job, output.append)
    lines = "".join(output).strip().splitlines()
    for line in reversed(lines):
        try:
            return Examination.model_validate_json(line)
        except ValidationError:
            continue
    said = lines[-1].removeprefix("visage: ") if lines else f"its job {job} says nothing; read the head's logs"
    raise UserError(f"--address {cluster.address}: {said.rstrip('.')}.")


def _begun(cluster: Cluster, job: str) -> None:
    until = time.monotonic() + PENDING_SECONDS
    while cluster.job(job).status == "PENDING":
        if time.monotonic() > until:
            cluster.stop(job)
            raise UserError(
                f"--address {cluster.address}: no CPU is free for a look within {PENDING_SECONDS:g} s; wait for a job "
                "that `visage jobs` shows, or add a node."
            )
        time.sleep(LOOK_SECONDS)
