"""Small bundles, and a store for all tests of the room."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXPRESSIONS = ("neutral", "happy")
SHA = "0" * 64


def entries(row: str, similarity: float, probability: float, verified: float, people: int = 24, faces: int = 4):
    """Per-face results of a row, with noise that is the same for every row of a person and face."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.03, size=(people, faces, 2))
    luck = rng.permutation(people * faces).reshape(people, faces) / (people * faces)
    return [
        {
            "row": row,
            "identity": f"person{person:03d}",
            "input": f"faces/{person}_{face}.png",
            "target": "happy",
            "similarity": float(np.clip(similarity + noise[person, face, 0], -1, 1)),
            "probability": float(np.clip(probability + noise[person, face, 1], 0, 1)),
            "verified": bool(luck[person, face] < verified),
            "correct": probability > 0.5,
        }
        for person in range(people)
        for face in range(faces)
    ]


COPY = {"similarity": 0.85, "probability": 0.05, "verified": 0.95}
MEAN_FACE = {"similarity": 0.1, "probability": 0.9, "verified": 0.05}
MEAN_CHANGE = {"similarity": 0.8, "probability": 0.3, "verified": 0.9}


@pytest.fixture(scope="session")
def result_entries() -> Callable[..., list[dict[str, Any]]]:
    return entries


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Any]:
    """Writes a bundle of tiny networks. seed: of the weights; the figures are those of the model's row."""
    import torch

    from tests.evaluations import sample
    from visage.methods.eft.networks.disentangler import Disentangler
    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck
    from visage.models.unet import UNet
    from visage.registry.bundle import write_bundle

    def make(
        out: Path,
        seed: int = 0,
        similarity: float = 0.8,
        probability: float = 0.8,
        verified: float = 0.95,
        people: int = 24,
        **fields: Any,
    ) -> Any:
        torch.manual_seed(seed)
        by_driver = fields.get("method") == "eft"
        given: dict[str, Any] = {
            "generator": Disentangler(32, 8, 4, 17) if by_driver else UNet(32, 8, len(EXPRESSIONS)),
            "encoder": CompactEncoder(dimensions=8),
            "check": ExpressionCheck(EXPRESSIONS),
            "faces_png": b"a picture",
            "results": entries("model", similarity, probability, verified, people)
            + entries("copy", **COPY, people=people)
            + entries("mean_face", **MEAN_FACE, people=people)
            + entries("mean_change", **MEAN_CHANGE, people=people),
            "method": "ucgan",
            "expressions": EXPRESSIONS,
            "config": {"train": {"seed": seed}},
            "evaluation": sample(EXPRESSIONS).to_dict(),
            "metrics": {"score": {"value": probability, "low": 0.1, "high": 0.9}},
            "data": {"name": "set", "layout": "synthetic", "sha256": SHA, "judges": SHA},
            "run_id": "run",
            "self_check": {"identity_similarity": {"0.05": 0.4}, "expression_confidence": {"0.05": 0.5}},
        }
        return write_bundle(out, **(given | fields))

    return make


def _empty(folder: Path) -> str:
    from visage.registry.store import open_store

    address = f"sqlite:///{folder}/runs/mlflow.db"
    open_store(address)
    return address


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of an SQLite store that the room's tests share."""
    return _empty(tmp_path_factory.mktemp("store"))


@pytest.fixture
def empty_store(tmp_path: Path) -> str:
    """A store of its own for one test."""
    return _empty(tmp_path)
