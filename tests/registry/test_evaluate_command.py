"""`visage evaluate` on a bundle and a face set that do not know each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visage.config.data import Shares
from visage.config.experiment import Judge
from visage.errors import JudgesRefused, UserError
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.judging.networks.train import face_networks
from visage.workflows.evaluation import evaluate_model

pytestmark = pytest.mark.slow

CONFIG = {"judge": {"images": 2_000, "seed": 7}, "of_an_older": {"visage": 1}}


@pytest.fixture
def noise(tmp_path: Path) -> FaceSet:
    """Faces of noise, on which no judge can be better than chance."""
    rows = [Row(Path(f"{k}.png"), f"p{k // 2}", ("neutral", "happy")[k % 2]) for k in range(48)]
    random = np.random.default_rng(0)
    faces = [random.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in rows]
    shares = Shares(train=0.6, validation=0.15, test=0.25)
    return write_face_set(tmp_path / "set", rows, faces, name="noise", layout="folder", size=32, shares=shares)


def test_a_model_does_not_choose_its_judges(
    make_bundle: Callable[..., Any], noise: FaceSet, store: str, tmp_path: Path
) -> None:
    first = face_networks(noise, Judge(images=1_000))
    make_bundle(tmp_path / "bundle", config=CONFIG)
    with pytest.raises(JudgesRefused):
        evaluate_model(str(tmp_path / "bundle"), noise.dir, store)
    assert face_networks(noise, Judge(images=1_000), pytest.fail).sha256 == first.sha256


def test_other_expressions_are_refused(
    make_bundle: Callable[..., Any], noise: FaceSet, store: str, tmp_path: Path
) -> None:
    from tests.evaluations import sample
    from visage.models.judges import ExpressionCheck

    names = ("neutral", "sad")
    make_bundle(
        tmp_path / "bundle", expressions=names, check=ExpressionCheck(names), evaluation=sample(names).to_dict()
    )
    with pytest.raises(UserError, match=r"makes neutral, sad at 32 px.*shows neutral, happy at 32 px"):
        evaluate_model(str(tmp_path / "bundle"), noise.dir, store)
    assert not (noise.dir / "networks").exists()
