"""What a job takes along: the code of this checkout, its configuration, and the environment that it names."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import visage
from visage.errors import UserError

# Of a checkout this alone travels, so that no run, no data and no history does.
PACKAGES = ("platform/visage", "jobs", "serve_app")
STOP = {
    # As Ctrl-C, which keeps what was reached; a trial at work may need a while to end.
    "RAY_JOB_STOP_SIGNAL": "SIGINT",
    "RAY_JOB_STOP_WAIT_TIME_S": "60",
}


@contextmanager
def runtime_env(
    config: Path | None, variables: Sequence[str], *, image: bool, command: str
) -> Iterator[dict[str, Any]]:
    """The runtime environment of a job, whose files are there as long as the block lasts.

    config: the file that the job reads under its own name. variables: names whose values this process's environment
    holds. image: the nodes have Visage installed, and this checkout stays here. command: what was typed.
    Raises UserError when there is no checkout to send, and for a name that is not set.
    """
    values = {name: _value(name) for name in variables}
    env: dict[str, Any] = {"env_vars": {**STOP, "VISAGE_TYPED": command, **values}}
    if not image:
        root = Path(visage.__file__).parents[2]
        packages = [root / package for package in PACKAGES]
        if not all(package.is_dir() for package in packages):
            raise UserError(f"{root}: is no checkout of Visage to send; use --image where the cluster has Visage.")
        env["py_modules"] = [str(package) for package in packages]
    with tempfile.TemporaryDirectory(prefix="visage-job-") as folder:
        if config:
            shutil.copyfile(config, Path(folder) / config.name)
            env["working_dir"] = folder
        yield env


def _value(name: str) -> str:
    if not name.isidentifier():
        raise UserError(f"--env {name.partition('=')[0]}: takes the name of a variable alone; its value is read here.")
    if name not in os.environ:
        raise UserError(f"--env {name}: is not set here; set it, or leave it to the cluster, which may have it.")
    return os.environ[name]
