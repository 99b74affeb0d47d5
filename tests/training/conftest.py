"""One small experiment for the tests of this room."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from visage.config import Experiment
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks


@pytest.fixture(scope="session")
def experiment(judged: "tuple[FaceSet, FaceNetworks]") -> "Experiment":
    from visage.config import Experiment

    return Experiment.model_validate(
        {
            "data": {"dir": str(judged[0].dir), "size": 64},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 64, "batch": 8, "evaluate_every": 32, "evaluate_pairs": 16},
            "judge": {"images": 4000},
        }
    )
