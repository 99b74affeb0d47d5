"""The command that looks at machines and stores before hours are spent on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visage.cli.options import Image, Settings, Variables, read_experiment, require_shareable

if TYPE_CHECKING:
    from visage.workflows.doctor.schema import Examination


def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file of the experiment to look at; none: machines alone")
    ] = None,
    settings: Settings = None,
    address: Annotated[str | None, typer.Option(help="A cluster's job server, http://HOST:8265; none: here")] = None,
    image: Image = False,
    variables: Variables = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one line of JSON")] = False,
) -> None:
    """Look at an experiment's machines and stores: what would fail, and the mend. Status 1 where something would."""
    from visage.workflows.terminal import typed

    experiment = read_experiment(config, settings) if config else None
    if address:
        from jobs.examination import examine_cluster

        require_shareable(settings or (), config)
        found = examine_cluster(address, config, settings or (), variables or (), image=image, command=typed())
    else:
        from visage.workflows.doctor.examine import examine

        found = examine(experiment)
    command = "tune" if experiment is None or experiment.search.space else "train"
    given = typed() if config else f"{typed()} CONFIG"
    conclude(found, given.replace("doctor", f"submit {command}" if address else command, 1), as_json)


def conclude(found: "Examination", following: str, as_json: bool = False) -> None:
    """Print what was found, and what to do next; ends with status 1 where something would fail."""
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        show(found, following)
    if found.first():
        raise typer.Exit(1)


def show(found: "Examination", following: str) -> None:
    """The table, what would fail first, what it would take, and what to do next where nothing would."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from visage.workflows.terminal import console

    table = Table("where", "what", "", "found", box=SIMPLE_HEAD, pad_edge=False)
    for check in found.checks:
        told = f"{check.found}; {check.mend}" if check.mend else check.found
        table.add_row(check.place, check.subject, "" if check.state == "good" else check.state, told)
    console.print(table, soft_wrap=False)
    if found.estimate:
        console.print(found.estimate)
    if first := found.first():
        console.print(f"would fail first: {first.subject} of {first.place}: {first.found}; {first.mend}")
    else:
        console.print("nothing here would fail.")
        console.print(f"next: {following}")
