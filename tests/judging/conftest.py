"""A small procedural face set with its judges, trained once for all tests of this room."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from visage.config.experiment import Judge, Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.faces.synthetic.people import picture_of
from visage.judging.train import FaceNetworks, face_networks

EXPRESSIONS = ("neutral", "happy", "surprise")
SHARES = Shares(train=0.6, validation=0.15, test=0.25)

Make = Callable[..., FaceSet]


@pytest.fixture(scope="session")
def make_faces(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Writes a face set of rows (person, expression, session) whose pixels are noise."""

    def make(rows: Sequence[tuple[str, str, str]], size: int = 32, shares: Shares = SHARES) -> FaceSet:
        random = np.random.default_rng(0)
        faces = [random.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in rows]
        listed = [Row(Path(f"{k}.png"), person, shown, session) for k, (person, shown, session) in enumerate(rows)]
        out = tmp_path_factory.mktemp("faces") / "set"
        return write_face_set(out, listed, faces, name="noise", layout="folder", size=size, shares=shares)

    return make


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaceSet, FaceNetworks]:
    """40 procedural people, three expressions in two sittings, and judges trained for a few seconds."""
    rows, faces = [], []
    for person in range(40):
        for session in range(2):
            for expression in EXPRESSIONS:
                row, face = picture_of(person, expression, session, 64, seed=5)
                rows.append(Row(Path(f"{len(rows)}.png"), row.identity, expression, str(session)))
                faces.append(face)
    out = tmp_path_factory.mktemp("judged") / "faces"
    made = write_face_set(out, rows, faces, name="judged", layout="synthetic", size=64, shares=SHARES)
    return made, face_networks(made, Judge(images=4_000))
