"""The commands of studies and ablations; heavy imports happen inside."""

from pathlib import Path
from typing import Annotated

import typer

from visage.cli.options import Config, Port, Restartable, Settings, read_experiment
from visage.errors import UserError
from visage.search.study.page import PORT

LOCAL_STUDIES = "sqlite:///runs/optuna.db"


def tune(
    config: Config,
    settings: Settings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Finish a study that was cut off, or extend one")] = False,
    restartable: Restartable = False,
) -> None:
    """Search loss weights and triplet margin, then register the best setting's model and let the gate judge it."""
    from visage.workflows.search import tune_and_publish

    tune_and_publish(read_experiment(config, settings), resume, restartable)


def study(
    name: Annotated[
        str | None, typer.Argument(help="Name of the study, search.name in its configuration; --web needs none")
    ] = None,
    storage: Annotated[
        str, typer.Option(envvar="OPTUNA_STORAGE", help="The study's database, search.storage")
    ] = LOCAL_STUDIES,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the checkpoints of all but the best trials and the Pareto front")
    ] = False,
    web: Annotated[bool, typer.Option("--web", help="As a page for a browser, until Ctrl-C")] = False,
    port: Port = PORT,
) -> None:
    """Show a study, live while it runs: which trial leads and why, all trials, and what mattered."""
    from visage.search.report.terminal import follow
    from visage.workflows.search import prune_study
    from visage.workflows.terminal import console

    if web:
        from visage.search.watch.server import serve

        serve(storage, name, port, typer.echo)
    elif name is None:
        raise UserError("NAME: is missing; give the study's name, or --web to choose among all.")
    elif prune:
        prune_study(name, storage)
    else:
        follow(name, storage, console)


def ablate(
    config: Config,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; runs/ablation/NAME by default")] = None,
) -> None:
    """Train variants of a model, several seeds each, and hold them against one another; goes on where it stopped."""
    from visage.workflows.search import ablate_and_record

    experiment = read_experiment(config, settings)
    ablate_and_record(experiment, out or Path("runs/ablation") / experiment.ablation.name)
