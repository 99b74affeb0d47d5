"""Arguments that several commands take, and what they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
Store = Annotated[
    str, typer.Option("--registry", envvar="MLFLOW_TRACKING_URI", help="MLflow server or SQLite database")
]


def read_experiment(config: Path, settings: list[str] | None) -> "Experiment":
    """The experiment of a file, with the settings of the command line laid over it."""
    from visage.config import Experiment, read_config

    return read_config(Experiment, config, settings or ())
