"""What a model's alias means, asked once for all processes of a machine that follow it."""

import hashlib
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import BaseModel

from visage.config.read import without_passwords
from visage.errors import NotWritten
from visage.infra.files import locked, write_whole
from visage.registry.bundle import ModelFacts
from visage.registry.models import NoSuchModel, Registry

FOLDER = "following"  # beside the cache of bundles
PATIENCE = 5  # so many times as old an answer may be while another process asks


class Answer(BaseModel):
    """What the registry said; of a model that is not there, which ones are."""

    facts: ModelFacts | None
    absent: str


def follow(registry: Registry, model: str, seconds: float, *, wait: bool = False) -> ModelFacts:
    """As `registry.find`, but from what another process of this machine was told in the last `seconds`, or, while one
    is asking, a little before; fifty replicas would keep a server busy with nothing else. wait: for the answer of the
    one that is asking.

    Raises NoSuchModel and UserError as `find`; of a store that refuses, every process hears for itself.
    """
    if "@" not in model or Path(model).is_dir():
        return registry.find(model)
    key = hashlib.sha256(f"{registry.uri} {model}".encode()).hexdigest()[:16]
    kept = registry.cache.dir.parent / FOLDER / f"{key}.json"
    with ExitStack() as alone:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            alone.enter_context(locked(kept.with_suffix(".lock"), wait=wait))
        except BlockingIOError:
            seconds *= PATIENCE
        except OSError:  # somebody else's folder, or no room: each asks for itself
            return registry.find(model)
        told = _told(kept, seconds)
        if told is None:
            told = _asked(registry, model)
            with suppress(NotWritten):
                write_whole(kept, told.model_dump_json().encode())
    if told.facts is None:
        raise NoSuchModel(told.absent)
    return told.facts


def _asked(registry: Registry, model: str) -> Answer:
    try:
        return Answer(facts=registry.find(model), absent="")
    except NoSuchModel as error:
        return Answer(facts=None, absent=without_passwords(str(error)))


def _told(kept: Path, seconds: float) -> Answer | None:
    """What the file says, if it is no older than `seconds`; None for one that is not there or not ours."""
    try:
        fresh = 0 <= time.time() - kept.stat().st_mtime < seconds
        return Answer.model_validate_json(kept.read_bytes()) if fresh else None
    except (OSError, ValueError):
        return None
