"""Arguments that several commands take, and what they name."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from visage.errors import UserError

if TYPE_CHECKING:
    from visage.config import Experiment

LOCAL_STORE = "sqlite:///runs/mlflow.db"
Config = Annotated[
    Path, typer.Argument(help="YAML file of the experiment, such as one of configs/", show_default=False)
]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, as train.batch=8")]
Model = Annotated[str, typer.Argument(help="name@alias, name/version, or the folder of a bundle", show_default=False)]
Restartable = Annotated[
    bool, typer.Option("--restartable", help="Resume what was begun, begin what was not: for jobs that start again")
]
Image = Annotated[
    bool, typer.Option("--image", help="Run the Visage that the cluster's image holds, not this checkout")
]
Variables = Annotated[
    list[str] | None, typer.Option("--env", metavar="NAME", help="Hand on this environment variable, as a password")
]
Port = Annotated[int, typer.Option(help="Of the page, on this machine; 0 takes a free one", min=0, max=65535)]
Store = Annotated[
    str, typer.Option("--registry", envvar="MLFLOW_TRACKING_URI", help="MLflow server or SQLite database")
]


def read_experiment(config: Path, settings: list[str] | None) -> "Experiment":
    """The experiment of a file, with the settings of the command line laid over it."""
    from visage.config import Experiment, read_config

    return read_config(Experiment, config, settings or ())


def require_shareable(given: Sequence[str], config: Path | None) -> None:
    """Raise UserError for a password in what all who see a job read: the command's arguments, and its configuration."""
    from visage.config.read import without_passwords

    for where, text in (
        *(("the command", each) for each in given),
        *(((str(config), config.read_text()),) if config else ()),
    ):
        if without_passwords(text) != text:
            raise UserError(
                f"{where}: holds an address with a password, which all who see the job would read; leave the password "
                "out, and let the cluster's environment hold it, or hand it on with --env PGPASSWORD."
            )
