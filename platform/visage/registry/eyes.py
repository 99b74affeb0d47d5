"""What people chose between the faces of two versions, among the files of the runs that these came from.

A registry knows no study's database: two versions may come from studies in two of them, or from none.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import RootModel, ValidationError

from visage.judging.choices import Choice, Share, between
from visage.registry.bundle import ModelFacts
from visage.registry.store import if_there, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "eyes"  # among a run's artifacts: a file for each sitting


class Sitting(RootModel[list[Choice]]):
    """The choices of one sitting."""


def keep(client: "MlflowClient", uri: str, run_id: str, sitting: str, choices: Sequence[Choice]) -> None:
    """Write all choices of a sitting, whose name nobody else has, in place of those of before."""
    with store_faults(uri):
        client.log_text(run_id, Sitting(list(choices)).model_dump_json(indent=1), f"{FOLDER}/{sitting}.json")


def between_versions(client: "MlflowClient", uri: str, one: ModelFacts, other: ModelFacts) -> Share | None:
    """What was chosen between two versions so far; None where nothing was.

    A file that another program put there is left out.
    """
    choices: list[Choice] = []
    with tempfile.TemporaryDirectory(prefix="visage-") as folder, store_faults(uri):
        for run_id in {one.run_id, other.run_id} - {""}:
            for item in if_there(partial(client.list_artifacts, run_id, FOLDER)) or ():  # a run may be gone
                if PurePosixPath(item.path).suffix == ".json":
                    content = Path(client.download_artifacts(run_id, item.path, folder)).read_bytes()
                    choices += _read(content)
    return between(choices, one.label, other.label)


def note(client: "MlflowClient", uri: str, one: ModelFacts, other: ModelFacts, share: Share) -> None:
    """Write what was chosen between two versions on the pages of both. share: of the first."""
    told = share.told(one.label, other.label)
    with store_faults(uri):
        for here, there in ((one, other), (other, one)):
            key = f"visage.eyes.{there.name}.{there.version}"
            client.set_model_version_tag(here.name, str(here.version), key, told)


def _read(content: bytes) -> list[Choice]:
    try:
        return Sitting.model_validate_json(content).root
    except ValidationError:
        return []
