"""results.csv: the per-face test results that travel with a bundle and that the gate compares."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visage.errors import UserError, one_line

COLUMNS = ("row", "identity", "input", "target", "similarity", "probability", "verified", "correct")


@dataclass(frozen=True)
class Results:
    """One row of an evaluation (model, copy, ...), one entry per generated face. All arrays have length N.

    identity: the person. face: (person, input picture, target expression), unique. similarity: cosine in [-1, 1].
    probability: of the target expression, in [0, 1]; of a transfer its au_agreement, at most 1. verified,
    correct: 0 or 1.
    """

    identity: np.ndarray
    face: tuple[tuple[str, str, str], ...]
    similarity: np.ndarray
    probability: np.ndarray
    verified: np.ndarray
    correct: np.ndarray


def write_results(entries: Iterable[Mapping[str, Any]]) -> bytes:
    """results.csv of entries that have all of COLUMNS; the same entries give the same bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in entries:
        names = [entry["row"], entry["identity"], entry["input"], entry["target"]]
        figures = [repr(float(entry["similarity"])), repr(float(entry["probability"]))]
        writer.writerow([*map(str, names), *figures, int(entry["verified"]), int(entry["correct"])])
    return text.getvalue().encode()


def read_results(path: Path) -> dict[str, Results]:
    """The evaluation's rows by name. Raises UserError when the file is no such table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its columns are not {', '.join(COLUMNS)}")
            entries = list(reader)
        names = dict.fromkeys(entry["row"] for entry in entries)
        return {name: _results([entry for entry in entries if entry["row"] == name]) for name in names}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        fault = f"{path}: holds no per-face results ({one_line(error)}); train and register the model again."
        raise UserError(fault) from None


def floors_of(rows: Mapping[str, Results], floors: Sequence[str], model: str) -> dict[str, Results]:
    """The rows of the answers that need no network, by name. model: whose results these are.

    Raises UserError where some are missing, as in the results of an older Visage.
    """
    if missing := [name for name in floors if name not in rows]:
        raise UserError(
            f"{model}: its results are of an older Visage and have no row {missing[0]}, which a model must beat; "
            "repeat its `visage train` with --resume where its folder is kept, which judges and registers it anew, or "
            "with --from-run, and promote that version."
        )
    return {name: rows[name] for name in floors}


def _results(entries: list[dict[str, str]]) -> Results:
    face = tuple((entry["identity"], entry["input"], entry["target"]) for entry in entries)
    if len(set(face)) != len(face):
        raise ValueError("a face stands in it twice")
    figures = {
        name: np.array([float(entry[name]) for entry in entries])
        for name in ("similarity", "probability", "verified", "correct")
    }
    if not all(np.isfinite(column).all() for column in figures.values()):
        raise ValueError("a figure is not finite")
    return Results(identity=np.array([entry["identity"] for entry in entries]), face=face, **figures)
