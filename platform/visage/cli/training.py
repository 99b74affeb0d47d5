"""The command that trains one model; heavy imports happen inside."""

from pathlib import Path
from typing import Annotated

import typer

from visage.cli.options import LOCAL_STORE, Restartable, Settings, Store, read_experiment
from visage.errors import UserError


def train(
    config: Annotated[Path | None, typer.Argument(help="YAML file of the experiment; none with --from-run")] = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; in runs/train, by its name, by default")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint")] = False,
    restartable: Restartable = False,
    run: Annotated[str | None, typer.Option("--from-run", metavar="RUN_ID", help="Repeat this run or trial")] = None,
    registry: Store = LOCAL_STORE,
) -> None:
    """Train one model, judge it on the test people and register it."""
    if (config is None) == (not run):
        raise UserError("visage train: takes a CONFIG or --from-run RUN_ID, one of them; see `visage train --help`.")
    out = out or Path("runs/train") / (config.stem if config else f"repeat-{str(run)[:8]}")
    goes_on = True if resume else None if restartable else False
    from visage.registry.record import read_record
    from visage.workflows.training import train_and_publish

    if run:
        record = read_record(registry, run, settings or ())
        return train_and_publish(record.experiment, out, goes_on, record)
    assert config
    train_and_publish(read_experiment(config, settings), out, goes_on)
