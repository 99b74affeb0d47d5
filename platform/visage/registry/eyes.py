"""What people chose between the faces of two versions: kept among the files of the runs that these came from, and told
on the versions' pages and in their cards.

A registry knows no study's database: two versions may come from studies in two of them, or from none.
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import RootModel, ValidationError

from visage.judging.choices import Choice, Share, between
from visage.registry.bundle import Bundle, ModelFacts
from visage.registry.card import MODEL_CARD
from visage.registry.store import if_there, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient

TOLD = "visage.eyes."  # of a version's tags: what was chosen between it and the one that the rest names
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


def note(client: "MlflowClient", uri: str, one: Bundle, other: Bundle, share: Share) -> None:
    """Write what was chosen between two versions, with what was told of each before, on its page and in the model card
    among its run's files; the card in its bundle stays as it was registered. share: of the first."""
    told = share.told(one.facts.label, other.facts.label)
    with store_faults(uri):
        for here, there in ((one, other), (other, one)):
            _tell(client, here, f"{TOLD}{there.facts.name}.{there.facts.version}", told)


def _tell(client: "MlflowClient", model: Bundle, key: str, told: str) -> None:
    from visage.registry.model_card import model_card

    name, version = model.facts.name, str(model.facts.version)
    found = client.get_model_version(name, version)
    before = {tag: text for tag, text in found.tags.items() if tag.startswith(TOLD)}
    now = _sentences({**before, key: told})
    own = [part for part in (found.description or "").split("\n\n") if part and part not in _sentences(before)]
    client.set_model_version_tag(name, version, key, told)
    client.update_model_version(name, version, "\n\n".join([*own, *now]))
    client.log_text(model.facts.run_id, model_card(model.card, now), MODEL_CARD)


def _sentences(told: Mapping[str, str]) -> list[str]:
    return [f"{text[0].upper()}{text[1:]}." for _, text in sorted(told.items()) if text]


def _read(content: bytes) -> list[Choice]:
    try:
        return Sitting.model_validate_json(content).root
    except ValidationError:
        return []
