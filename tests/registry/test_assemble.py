from pathlib import Path

import numpy as np
import pytest
import torch

from visage.config import Experiment
from visage.config.data import Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.judging.evaluate import evaluate
from visage.judging.train import FaceNetworks
from visage.models.identity import CompactEncoder
from visage.models.judges import ExpressionCheck, ExpressionJudge, IdentityJudge
from visage.models.unet import UNet
from visage.registry.assemble import bundle_training
from visage.registry.gate import judge_promotion

EXPRESSIONS = ("neutral", "happy")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> FaceSet:
    """60 people of noise: what is assembled matters here, not what it shows."""
    rows = [Row(Path(f"{p}{e}.png"), f"p{p:03d}", e) for p in range(60) for e in EXPRESSIONS]
    noise = np.random.default_rng(0).integers(0, 256, (len(rows), 32, 32, 3), dtype=np.uint8)
    out = tmp_path_factory.mktemp("faces") / "set"
    shares = Shares(train=0.2, validation=0.2, test=0.6)
    return write_face_set(out, rows, noise, name="noise", layout="folder", size=32, shares=shares, licence="none")


@pytest.fixture(scope="module")
def networks() -> FaceNetworks:
    torch.manual_seed(0)
    judges = IdentityJudge(torch.ones(96, 96), 8), ExpressionJudge(EXPRESSIONS)
    own = CompactEncoder(dimensions=8), ExpressionCheck(EXPRESSIONS)
    return FaceNetworks(*(net.eval() for net in (*judges, *own)), EXPRESSIONS, {}, "a" * 64)


def test_a_training_becomes_a_bundle_that_the_gate_can_judge(faces: FaceSet, networks: FaceNetworks, tmp_path: Path):
    generator = UNet(32, 8, 2).eval()
    experiment = Experiment.model_validate({"data": {"dir": str(faces.dir), "size": 32}})
    evaluation = evaluate(generator, faces, networks, bootstrap=100)
    bundle = bundle_training(
        tmp_path / "bundle",
        generator=generator,
        experiment=experiment,
        faces=faces,
        networks=networks,
        evaluation=evaluation,
        faces_png=b"picture",
        run_id="abc",
    )
    card = bundle.card
    assert card.data.sha256 == faces.sha256
    assert card.data.judges == networks.sha256
    assert sum(card.data.people.values()) == 60
    assert Experiment.model_validate(card.config) == experiment
    score = evaluation.rows["model"].metrics["score"]
    assert (card.metrics["score"].value, card.metrics["score"].low) == (score.value, score.low)
    for quantiles in card.self_check.values():
        assert list(quantiles.values()) == sorted(quantiles.values())
        assert set(quantiles) == {"0.05", "0.25", "0.5", "0.75", "0.95"}
    rows = bundle.results()
    verdict = judge_promotion(rows["model"], rows["copy"], opponent_name="the copied input")
    # The gate's own figures are those of the evaluation.
    difference = score.value - evaluation.rows["copy"].metrics["score"].value
    assert verdict.intervals["score"].value == pytest.approx(difference, abs=1e-6)
