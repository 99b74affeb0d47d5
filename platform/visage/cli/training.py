"""The commands that make a face set and train one model; heavy imports happen inside."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from visage.cli.options import LOCAL_STORE, Restartable, Settings, Store, read_experiment
from visage.errors import UserError


def prepare(
    out: Annotated[str, typer.Option(help="Folder, or s3:// address, of the face set to make", show_default=False)],
    layout: Annotated[
        Literal["kdef", "rafd", "oulu-casia", "london", "cfd", "mmi", "folder", "unpaired", "synthetic"],
        typer.Option(help="How the source names its faces"),
    ],
    source: Annotated[Path | None, typer.Option(help="Folder of the photographs; none for synthetic")] = None,
    size: Annotated[int, typer.Option(help="Side of a face in pixels, a power of two from 32 to 512")] = 64,
    people: Annotated[int, typer.Option(help="synthetic: number of people")] = 160,
    pictures: Annotated[int, typer.Option(help="synthetic: pictures of each person and expression")] = 2,
    seed: Annotated[int, typer.Option(help="synthetic: who the people are")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any further setting, as data.kdef.angles=[HL,S,HR]"),
    ] = None,
) -> None:
    """Find, align and pack faces: photographs or procedural people to a face set.

    Cut off, the same command goes on where it stopped.
    """
    from visage.config.data import Preparation
    from visage.config.read import apply_setting, validated

    values: dict[str, Any] = {"dir": out, "layout": layout, "source": source, "size": size}
    values |= {"people": people, "pictures": pictures, "seed": seed}
    tree = {"data": values}
    for setting in settings or ():
        apply_setting(tree, setting)
    data = validated(Preparation, tree, "visage prepare").data
    from visage.workflows.training import prepare_faces

    prepare_faces(data)
    typer.echo(f"next: visage train CONFIG --set data.layout=null --set data.dir={out} --out runs/train/mine")


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
