from pathlib import Path

import pytest

from visage.config import Experiment, replaced
from visage.config.experiment import Judge
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.evaluate import evaluate
from visage.judging.metrics import score as harmonic
from visage.judging.networks.natural import Fitted
from visage.judging.networks.train import FaceNetworks
from visage.methods import method_of
from visage.methods.eft import UNITS
from visage.methods.eft.judging.evaluate import evaluate_transfer
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import fit_unit_map
from visage.models.judges import NaturalCheck
from visage.models.unet import UNet
from visage.registry.assemble import bundle_training, natural_check
from visage.registry.card import MODEL_CARD, NATURAL
from visage.registry.model_card import summary
from visage.workflows.models import print_published
from visage.workflows.publish import Published


def test_a_training_becomes_a_bundle_that_the_gate_can_judge(
    judged: tuple[FaceSet, FaceNetworks], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces, networks = judged
    generator = UNet(64, 8, 3).eval()
    addresses = {
        "search": {"storage": "postgresql://me:hush/hush@host/db?sslpassword=hush"},
        "registry": {"tracking_uri": "https://me:hush@host"},
    }
    experiment = Experiment.model_validate({"data": {"dir": str(faces.dir), "size": 64}, **addresses})
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
        natural=natural_check(generator, method_of(experiment.method.name).request, faces, images=640, seed=0).check,
    )
    card = bundle.card
    assert set(card.self_check) == {"identity_similarity", "expression_confidence", "natural"}
    assert NATURAL in card.files
    assert card.data.sha256 == faces.sha256
    assert card.data.judges == networks.sha256
    assert sum(card.data.people.values()) == len(set(faces.identity))
    hidden = {"search.storage": "postgresql://me:***@host/db?sslpassword=***"}
    hidden["registry.tracking_uri"] = "https://me:***@host"
    assert Experiment.model_validate(card.config) == replaced(experiment, hidden)
    assert not [file.name for file in bundle.dir.iterdir() if b"hush" in file.read_bytes()]
    score = evaluation.rows["model"].metrics["score"]
    assert (card.metrics["score"].value, card.metrics["score"].low) == (score.value, score.low)
    for quantiles in card.self_check.values():
        assert list(quantiles.values()) == sorted(quantiles.values())
        assert set(quantiles) == {"0.05", "0.25", "0.5", "0.75", "0.95"}
    rows = bundle.results()
    assert set(rows) == {"model", "real", "copy", "mean_face", "mean_change", "wrong_person"}
    check = NaturalCheck()
    for caught, cautioned in ((0.12, True), (0.9, False)):
        print_published(Published("visage-ucgan", 1, "abc", bundle.dir, evaluation, Fitted(check, caught)))
        assert ("tells 12% of damaged ones, less than 50%, and was left out" in capsys.readouterr().out) == cautioned
    # The gate reads from the results what the evaluation says.
    model = rows["model"]
    assert harmonic(model.similarity.mean(), model.probability.mean()) == pytest.approx(score.value, abs=1e-6)
    assert model.verified.mean() == pytest.approx(evaluation.rows["model"].metrics["identity"].value)


def test_a_transfer_becomes_a_bundle_whose_card_tells_of_it(judged: tuple[FaceSet, FaceNetworks], tmp_path: Path):
    faces, networks = judged
    generator = Disentangler(64, 8, 8, len(AUS)).eval()
    experiment = Experiment.model_validate({"data": {"dir": str(faces.dir), "size": 64}, "method": {"name": "eft"}})
    unit_map = fit_unit_map(generator, faces)
    judge = Judge(images=4_000, bootstrap=100)
    evaluation = evaluate_transfer(generator, faces, networks, judge, unit_map=unit_map)
    bundle = bundle_training(
        tmp_path / "bundle",
        generator=generator,
        experiment=experiment,
        faces=faces,
        networks=networks,
        evaluation=evaluation,
        faces_png=b"picture",
        run_id="abc",
        natural=natural_check(generator, method_of(experiment.method.name).request, faces, images=640, seed=0).check,
        extras={UNITS: unit_map},
    )
    natural = bundle.card.self_check["natural"]
    assert 0 < natural["0.05"] < natural["0.95"] < 1
    assert bundle.facts.name == "visage-eft"
    carried = bundle.extras()[UNITS]
    assert carried
    assert all((value == unit_map.state_dict()[name]).all() for name, value in carried.state_dict().items())
    assert set(bundle.golden().asked) == {"driver"}
    weights = generator.state_dict()
    assert all((value == weights[name]).all() for name, value in bundle.generator().state_dict().items())
    rows = bundle.results()
    assert set(rows) == {"model", "copy", "rest", "constant", "regression", "driver", "units"}
    assert rows["copy"].probability.mean() < 1e-3 < 0.99 < rows["driver"].probability.min()
    card = (bundle.dir / MODEL_CARD).read_text()
    for words in ("10.1109/TIP.2021.3073857", "a second one, the driver", "Action units: weak", "copy of the driver",
                  "AU-free feature", "told the driver's labels"):  # fmt: skip
        assert words in card
    assert "eft at 64 px" in summary(bundle.card)
