"""Face sets of noise, for what does not look at the faces."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from visage.config.data import Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row

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
