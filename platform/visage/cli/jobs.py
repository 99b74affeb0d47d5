"""The commands that send work to a Ray cluster and follow it there."""

import re
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from visage.cli.doctor import conclude
from visage.cli.options import Image, Variables, require_shareable
from visage.errors import UserError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from visage.config import Experiment

FREE = {"allow_extra_args": True, "ignore_unknown_options": True}  # what follows is the other command's to read
Address = Annotated[
    str,
    typer.Option(
        envvar="RAY_API_SERVER_ADDRESS", help="The cluster's job server: http://HOST:8265", show_default=False
    ),
]


def submit(
    context: typer.Context,
    command: Annotated[
        Literal["prepare", "train", "tune", "ablate", "evaluate"],
        typer.Argument(help="What to run there", show_default=False),
    ],
    address: Address,
    wait: Annotated[bool, typer.Option("--wait", help="Show the job's output until it ends")] = False,
    image: Image = False,
    variables: Variables = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only look what would fail there, as visage doctor, and what it takes")
    ] = False,
) -> None:
    """Run prepare, train, tune, ablate or evaluate on a Ray cluster, with the arguments of that command.

    Submitted again, a job goes on where it stopped. Paths in a configuration are the cluster's.
    """
    from jobs.cluster import Cluster
    from jobs.package import runtime_env
    from visage.search.study.page import looking
    from visage.workflows.terminal import console, typed

    given = list(context.args)
    config, settings, experiment = _checked(context, command, given)
    if dry_run:
        from jobs.examination import examine_cluster

        found = examine_cluster(address, config, settings, variables or (), image=image, command=typed())
        return conclude(found, following="the same without --dry-run")
    arguments = [config.name if config and Path(each) == config else each for each in given]
    entrypoint = shlex.join(["python", "-m", "jobs.run", command, *arguments])
    name = re.sub(r"[^\w-]+", "-", f"visage-{command}" + (f"-{config.stem}" if config else ""))
    with runtime_env(config, variables or (), image=image, command=typed()) as env:
        cluster = Cluster(address)
        running, waiting = cluster.at_work()
        job = cluster.submit(name, entrypoint, env)
    console.print(f"{job}: submitted; {running} run, and {waiting} wait before it")
    console.print(f"see:  {cluster.address}/#/jobs/{job}")
    if wait:
        _follow(cluster, job)
    else:
        console.print(f"next: visage jobs logs {job} --address {cluster.address}")
        if experiment and command == "tune":
            look = looking(experiment.search.name, experiment.search.storage)
            console.print(f"or:   {look} --web, when the study has begun")


def jobs(
    address: Address,
    action: Annotated[
        Literal["status", "logs", "stop"] | None, typer.Argument(help="What of a job; none: all jobs")
    ] = None,
    job: Annotated[str | None, typer.Argument(metavar="ID", help="The job's id; status without one: all jobs")] = None,
) -> None:
    """List the jobs of a Ray cluster, show one, follow its output, or stop it; what a stopped one reached is kept."""
    from jobs.cluster import Cluster
    from visage.workflows.terminal import console

    if action in ("logs", "stop") and not job:
        raise UserError(f"visage jobs {action}: takes the ID of a job; `visage jobs` lists them.")
    cluster = Cluster(address)
    if not job:
        submitted = cluster.jobs()
        _list(submitted)
        if submitted:
            console.print(f"next: visage jobs logs {submitted[-1].submission_id} --address {cluster.address}")
    elif action == "logs":
        _follow(cluster, job)
    elif action == "stop":
        stopped = cluster.stop(job)
        console.print(f"{job}: is asked to stop; what it reached is kept" if stopped else f"{job}: had ended already")
    else:
        found = cluster.job(job)
        console.print(f"{job}: {found.status.lower()}, {_lasted(found)}\n{found.entrypoint}")
        if found.status == "FAILED" and found.message:
            console.print(found.message.strip().splitlines()[-1])
        console.print(f"next: visage jobs logs {job} --address {cluster.address}")


def _checked(
    context: typer.Context, command: str, given: Sequence[str]
) -> "tuple[Path | None, list[str], Experiment | None]":
    """The configuration and settings in the other command's arguments, and what they say, after a look for what would
    fail there."""
    from visage.config import Experiment, read_config

    local: Any = context.find_root().command
    with local.commands[command].make_context(command, list(given), parent=context) as read:
        config: Path | None = read.params.get("config")
        settings = list(read.params.get("settings") or ())
    experiment = read_config(Experiment, config, settings) if config else None
    require_shareable(given, config)
    return config, settings, experiment


def _follow(cluster: Any, job: str) -> None:
    from visage.workflows.terminal import console

    here = f"--address {cluster.address}"
    try:
        ended = cluster.follow(job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        raise UserError(
            f"{job}: goes on without being watched; `visage jobs logs {job} {here}` shows it again, and "
            f"`visage jobs stop {job} {here}` ends it."
        ) from None
    if ended.status != "SUCCEEDED":
        raise UserError(
            f"{job}: {ended.status.lower()} {_lasted(ended)}; its output says why; submit it again to go on."
        )
    console.print(f"{job}: succeeded {_lasted(ended)}")


def _list(found: "list[JobDetails]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from visage.workflows.terminal import console

    if not found:
        console.print("no job was submitted yet; submit one with `visage submit`.")
        return
    whole = Column("job", no_wrap=True)  # as `visage jobs status` takes it
    table = Table(whole, "state", "begun", "how long", box=SIMPLE_HEAD, pad_edge=False)
    for job in found:
        begun = f"{datetime.fromtimestamp(job.start_time / 1000):%Y-%m-%d %H:%M}" if job.start_time else ""
        table.add_row(job.submission_id, job.status.lower(), begun, _lasted(job))
    console.print(table)


def _lasted(job: "JobDetails") -> str:
    """How long a job ran, or runs."""
    if not job.start_time:
        return "not begun"
    end = job.end_time / 1000 if job.end_time else datetime.now().timestamp()
    minutes, seconds = divmod(max(0, round(end - job.start_time / 1000)), 60)
    return f"{'after' if job.end_time else 'for'} {minutes} min {seconds} s"
