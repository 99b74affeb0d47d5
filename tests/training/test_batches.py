from dataclasses import replace

import numpy as np
import torch

from visage.config.experiment import Train
from visage.faces.faceset import FaceSet
from visage.judging.train import FaceNetworks
from visage.training.batches import Batches


def test_the_condition_is_as_strong_as_the_true_face(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces, _ = judged
    happy = faces.expressions.index("happy")
    half = np.where(faces.expression == happy, 0.5, 1.0).astype(np.float32)
    batch = Batches(replace(faces, intensity=half), Train(), torch.device("cpu")).at(0, 64)
    smiling = batch.condition[:, happy] > 0
    assert 0 < smiling.sum() < 64
    expected = torch.zeros(len(faces.expressions))
    expected[happy] = expected[faces.expressions.index("neutral")] = 0.5
    assert torch.equal(batch.condition[smiling], expected.expand(int(smiling.sum()), -1))
    assert set(batch.condition[~smiling].flatten().tolist()) == {0.0, 1.0}
