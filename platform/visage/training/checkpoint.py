"""Checkpoints: everything that a run needs to go on exactly, and what its networks were made from."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment, validated
from visage.errors import NotWritten, UserError, one_line
from visage.methods import method_of
from visage.training.progress import Progress

if TYPE_CHECKING:
    from visage.models.generator import Network

FILE = "state.pt"
REMOVED = "removed.txt"  # in its place: the sentence that says why it is there no more
FORMAT = 1


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; the one before stays until the new one is whole. Raises NotWritten when the disk refuses."""
    import torch

    temporary = folder / f"{FILE}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"format": FORMAT, **state}, temporary)
        os.replace(temporary, folder / FILE)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise NotWritten(
            f"{folder}: the checkpoint cannot be written ({one_line(error)}); free space or mend permissions."
        ) from None
    finally:
        with suppress(OSError):  # as when `folder` is a file
            temporary.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any]:
    """The checkpoint in `folder`, on the CPU. Raises UserError when there is none or it is damaged."""
    import torch

    try:
        state = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        if (folder / REMOVED).is_file():
            raise UserError((folder / REMOVED).read_text()) from None
        raise UserError(f"{folder}: holds no checkpoint ({FILE}); give the checkpoint folder of a run.") from None
    except Exception as error:  # every way a damaged file can fail
        raise UserError(f"{folder / FILE}: is damaged ({one_line(error)}); start the run again.") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError(f"{folder / FILE}: is no checkpoint of format {FORMAT}; start the run again.")
    return state


@contextmanager
def fitting(folder: Path) -> Iterator[None]:
    """Weights of the checkpoint in `folder` are loaded within. Raises UserError where they are of other networks, as
    those of another width are, or of an older Visage's form."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:  # as torch says that shapes or names differ
        raise UserError(
            f"{folder}: was made with other networks than this run or this Visage ({one_line(error)}); start afresh in "
            "another folder."
        ) from None


def evaluation_in(state: dict[str, Any]) -> Progress | None:
    """The last evaluation before a checkpoint, with which it was written: nobody may have been told of it."""
    line = state.get("evaluation")
    return Progress.from_json(line) if line else None


def load_generator(folder: Path) -> tuple["Network", Experiment, tuple[str, ...]]:
    """The averaged generator of a checkpoint in eval mode, its experiment and the names of its expressions."""
    state = load(folder)
    experiment = validated(Experiment, json.loads(state["experiment"]), str(folder))
    generator = method_of(experiment.method.name).generator_of(state["architecture"])
    with fitting(folder):
        generator.load_state_dict(state["ema"])
    return generator.eval(), experiment, tuple(state["expressions"])
