"""What the judges from outside, and the fitted ones, say of the real faces of a face set's test people.

    make judges
    python benchmarks/judges.py DIR [--fitted]

Prints how well each judge reads the validation and the test people, and the rows of a table that need no model.
--fitted: the same by the fitted judges, which takes a training where none are stored; so does a set whose expressions
those from outside do not know. The set stays as it is.
"""

import argparse
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from visage.config.experiment import Judge
from visage.errors import JudgesRefused
from visage.faces.faceset import FaceSet
from visage.judging.evaluate import evaluate
from visage.judging.judges import Judges
from visage.judging.networks.outside import FILES, knows, outside_judges
from visage.judging.networks.reach import swapped_face_guard
from visage.judging.networks.train import FaceNetworks, face_networks, resized
from visage.judging.table import table
from visage.models.identity import CompactEncoder
from visage.models.judges import ExpressionCheck
from visage.models.reader import ExpressionReader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, metavar="DIR", help="a face set of `visage prepare`")
    parser.add_argument("--fitted", action="store_true")
    options = parser.parse_args()
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(options.set, copy, dirs_exist_ok=True)
        faces = FaceSet.open(Path(copy))
        for kind, networks in judges(faces, options.fitted):
            for part in ("validation", "test"):
                found = Judges(networks, faces, part)
                reached = {name: f"{figure.value:.3f}" for name, figure in found.reliability().items()}
                console.print(f"{kind}, {part}: {reached}, {found.identity}")
                members = faces.part(part)
                own = networks.identity_judge, resized(faces, members), faces.identity[members]
                console.print(f"  follows the face, not the head around it: {swapped_face_guard(*own)}")
            try:
                console.print(table(evaluate(None, faces, networks)))
            except JudgesRefused as refused:
                console.print(f"refused: {refused}")


def judges(faces: FaceSet, fitted: bool) -> Iterator[tuple[str, FaceNetworks]]:
    kinds = faces.expressions
    others: Any = outside_judges(Judge(), kinds, resized(faces, faces.part("train")), needed=True)
    if fitted or not knows(kinds):
        own = face_networks(faces, Judge(networks="fitted"))
        yield "fitted", own
        yield "outside", replace(own, **others)
    else:  # what is no judge is not asked, and so not trained
        rest: Any = {
            "encoder": CompactEncoder(),
            "check": ExpressionCheck(kinds),
            "reader": ExpressionReader(len(kinds)),
        }
        sha256 = hashlib.sha256("".join(FILES.values()).encode()).hexdigest()
        yield "outside", FaceNetworks(**others, **rest, expressions=kinds, report={}, doubts={}, sha256=sha256)


if __name__ == "__main__":
    main()
