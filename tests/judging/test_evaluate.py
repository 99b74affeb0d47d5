"""An evaluation cannot be fooled: what copies, averages or is real gets what it deserves."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.judging.conftest import Make
from visage.errors import JudgesRefused, UserError
from visage.faces.faceset import FaceSet
from visage.judging.evaluate import evaluate, quick
from visage.judging.floors import mean_changes, mean_faces
from visage.judging.frechet import Realism
from visage.judging.judges import Judges
from visage.judging.networks.train import FaceNetworks
from visage.judging.pairs import pairs
from visage.judging.results import Evaluation
from visage.models.pixels import as_input
from visage.models.unet import face_window


@pytest.fixture(scope="module")
def evaluation(judged: tuple[FaceSet, FaceNetworks]) -> Evaluation:
    return evaluate(lambda faces, condition: faces, *judged, bootstrap=300)


def figures(evaluation: Evaluation, row: str) -> dict[str, float]:
    return {name: figure.value for name, figure in evaluation.rows[row].metrics.items()}


def test_real_faces_are_near_one(evaluation: Evaluation) -> None:
    real = figures(evaluation, "real")
    assert real["expression"] >= 0.9
    assert real["expression_probability"] >= 0.85
    assert real["expression_change"] == pytest.approx(1)
    assert real["identity"] >= 0.8
    assert real["score"] >= 0.75


def test_copying_scores_the_error_of_the_judge(evaluation: Evaluation) -> None:
    copy, real = figures(evaluation, "copy"), figures(evaluation, "real")
    assert copy["expression"] <= 1 - evaluation.judges["expression"] + 0.05
    assert copy["score"] < 0.2 < real["score"]
    assert copy["expression_change"] == pytest.approx(0, abs=1e-6)
    assert copy["identity"] >= 0.8


def test_a_mean_face_is_nobody(evaluation: Evaluation) -> None:
    mean, real = figures(evaluation, "mean_face"), figures(evaluation, "real")
    assert mean["expression"] >= 0.9
    assert mean["identity"] < 0.4
    assert mean["identity_similarity"] < real["identity_similarity"] / 2


def test_a_mean_face_is_judged_as_if_a_generator_had_made_it(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces, networks = judged
    mean = mean_faces(faces)
    found = evaluate(lambda inputs, condition: mean[condition.argmax(1)], faces, networks, bootstrap=100)
    assert figures(found, "model") == pytest.approx(figures(found, "mean_face"), rel=1e-5, abs=1e-6)
    assert found.rows["model"].confusion == found.rows["mean_face"].confusion


def test_the_mean_change_keeps_the_person_and_beats_what_does_not_look_at_both(evaluation: Evaluation) -> None:
    change, copy = evaluation.rows["mean_change"], evaluation.rows["copy"]
    assert change.metrics["score"].low > max(copy.metrics["score"].high, figures(evaluation, "mean_face")["score"])
    assert change.metrics["identity_similarity"].value > figures(evaluation, "real")["identity_similarity"] - 0.2
    assert [result.input for result in change.results] == [result.input for result in copy.results]
    assert figures(evaluation, "mean_change")["frechet"] < figures(evaluation, "mean_face")["frechet"]
    assert not np.isnan(figures(evaluation, "mean_change")["ssim"])


def test_the_mean_change_is_the_arithmetic_and_stays_away_from_the_frame(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces, networks = judged
    judges, asked = Judges(networks, faces, "test"), pairs(faces, "test", limit=70)
    batches = list(mean_changes(judges, asked))
    made = torch.cat([each for _, each in batches])
    assert [len(some) for some, _ in batches] == [64, 6]
    assert made.abs().max() <= 1
    inputs, mean = judges.pictures(asked.input), mean_faces(faces)
    window = face_window(faces.size)
    assert torch.equal(made * (window == 0), inputs * (window == 0))
    own = torch.from_numpy(faces.expression[asked.input])
    target = torch.from_numpy(asked.target)
    middle = faces.size * 6 // 10, faces.size // 2  # the window is one there
    expected = (inputs + mean[target] - mean[own])[:, :, *middle].clamp(-1, 1)
    torch.testing.assert_close(made[:, :, *middle], expected)


def test_an_expression_that_nobody_learns_from_changes_nothing(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces = copy.copy(judged[0])
    surprise = faces.expressions.index("surprise")
    object.__setattr__(faces, "split", np.where(faces.expression == surprise, "test", faces.split))
    judges = Judges(judged[1], faces, "test")
    asked = pairs(faces, "test", limit=64)
    ((some, made),) = mean_changes(judges, asked)
    same = (made == judges.pictures(some.input)).all(1).all(1).all(1).numpy()
    unknown = (some.target == surprise) | (faces.expression[some.input] == surprise)
    assert (same == unknown).all()
    assert unknown.any()
    assert not unknown.all()


def test_another_person_is_not_this_one(evaluation: Evaluation) -> None:
    wrong, real = figures(evaluation, "wrong_person"), figures(evaluation, "real")
    assert wrong["expression"] >= 0.9
    assert wrong["identity"] <= 0.05
    assert wrong["score"] < real["score"] / 2
    assert wrong["l1"] > figures(evaluation, "copy")["l1"]


def test_faces_that_are_real_are_nearest_to_real_faces(evaluation: Evaluation) -> None:
    distance = {name: figures(evaluation, name)["frechet"] for name in evaluation.rows}
    assert distance["real"] < distance["copy"] < distance["mean_face"]
    assert distance["wrong_person"] < distance["copy"]
    interval = evaluation.rows["real"].metrics["frechet"]
    assert interval.low < interval.value < interval.high


def test_the_confusion_counts_pairs_by_target_and_by_what_was_read(evaluation: Evaluation) -> None:
    for name in ("model", "real"):
        row = evaluation.rows[name]
        counts = np.array(row.confusion)
        assert counts.sum() == row.pairs
        assert np.trace(counts) == sum(result.correct for result in row.results)
        for k, target in enumerate(evaluation.expressions):
            assert counts[k].sum() == sum(result.target == target for result in row.results)
    assert np.trace(np.array(evaluation.rows["real"].confusion)) >= 0.9 * evaluation.rows["real"].pairs
    assert np.trace(np.array(evaluation.rows["copy"].confusion)) <= 0.1 * evaluation.rows["copy"].pairs


def test_a_generator_that_copies_gets_the_copy_row(evaluation: Evaluation) -> None:
    """The copy's row is taken from what was judged once; the generator's faces go through the networks."""
    assert figures(evaluation, "model") == pytest.approx(figures(evaluation, "copy"), rel=1e-5, abs=1e-6)
    for made, copied in zip(evaluation.results, evaluation.rows["copy"].results, strict=True):
        assert (made.input, made.target) == (copied.input, copied.target)
        assert made.similarity == pytest.approx(copied.similarity, abs=1e-5)
        assert made.probability == pytest.approx(copied.probability, abs=1e-5)


def test_a_perfect_generator_gets_what_real_faces_get(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces, networks = judged
    judges = Judges(networks, faces, "test")
    asked = pairs(faces, "test")
    every = as_input(torch.from_numpy(np.array(faces.faces)).permute(0, 3, 1, 2))
    index_of = {face.numpy().tobytes(): index for index, face in enumerate(every)}

    def perfect(inputs: Tensor, condition: Tensor) -> Tensor:
        """Knows the true face of every input, by its pixels."""
        out = []
        for face, target in zip(inputs, condition.argmax(1).tolist(), strict=True):
            index = index_of[face.numpy().tobytes()]
            places = np.flatnonzero((asked.input == index) & (asked.target == target))
            out.append(every[asked.truth[places[0]]] if len(places) else face)
        return torch.stack(out)

    found = evaluate(perfect, faces, networks, bootstrap=100)
    assert figures(found, "model")["score"] == pytest.approx(figures(found, "real")["score"])
    assert figures(found, "model")["ssim"] == pytest.approx(1, abs=1e-4)
    assert figures(found, "model")["l1"] == pytest.approx(0, abs=1e-6)
    assert quick(judges, perfect, asked)["score"] == pytest.approx(figures(found, "real")["score"])
    assert quick(judges, perfect, asked)["expression_change"] == pytest.approx(1)
    assert "frechet" not in quick(judges, perfect, asked)
    realism = Realism.of(*judges.training_features())
    assert quick(judges, perfect, asked, realism)["frechet"] == pytest.approx(
        figures(found, "real")["frechet"], rel=1e-3
    )
    assert found.intensity
    assert found.intensity.levels[0] == 0
    assert found.intensity.expression_probability[0].value < 0.1
    assert found.intensity.expression_probability[4].value > 0.9
    assert found.intensity.rising.value == 1


def test_the_evaluation_survives_json(evaluation: Evaluation) -> None:
    again = Evaluation.from_dict(json.loads(json.dumps(evaluation.to_dict(), allow_nan=False)))
    assert again == evaluation


def test_counts_and_judges_stand_beside_the_figures(
    evaluation: Evaluation, judged: tuple[FaceSet, FaceNetworks]
) -> None:
    faces, networks = judged
    assert evaluation.people == len(np.unique(faces.identity[faces.part("test")]))
    assert evaluation.pairs == len(evaluation.results) == len(faces.part("test")) * (len(faces.expressions) - 1)
    assert evaluation.verification.false_accept_rate <= 0.01
    assert evaluation.networks == networks.sha256


def test_judges_no_better_than_chance_refuse(make_faces: Make, judged: tuple[FaceSet, FaceNetworks]) -> None:
    """Noise in place of faces: nobody can be read from it, and one sentence says so."""
    networks = judged[1]
    faces = make_faces([(f"p{k}", e, s) for k in range(14) for e in networks.expressions for s in "ab"])
    with pytest.raises(JudgesRefused, match=r"judge .* no better than the 0\.01 of chance") as refused:
        evaluate(None, faces, networks, bootstrap=100)
    assert str(refused.value).count(". ") == 0


def test_an_expression_judge_that_guesses_refuses(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces, networks = judged
    shuffled = copy.copy(faces)
    object.__setattr__(shuffled, "expression", np.random.default_rng(0).permutation(faces.expression))
    with pytest.raises(JudgesRefused, match=r"the expression judge reads 0\..* no better than"):
        evaluate(None, shuffled, networks, bootstrap=100)


def test_two_people_are_too_few_for_an_interval_to_refuse(judged: tuple[FaceSet, FaceNetworks]) -> None:
    """Of one of the two the judge reads a third only: the interval begins at chance, and the figure lies above it."""
    faces, networks = judged
    few = copy.copy(faces)
    one, other = np.unique(faces.identity[faces.part("test")])[:2]
    rest = (faces.split == "test") & ~np.isin(faces.identity, [one, other])
    object.__setattr__(few, "split", np.where(rest, "train", faces.split))
    wrong = np.flatnonzero(faces.identity == one)[:4]
    expression = faces.expression.copy()
    expression[wrong] = (expression[wrong] + 1) % 3
    object.__setattr__(few, "expression", expression)
    found = evaluate(None, few, networks, bootstrap=100)
    assert found.people == 2
    assert [warning for warning in found.warnings if "expression judge reaches an accuracy" in warning]


def test_a_poor_judge_marks_every_figure_that_rests_on_it(judged: tuple[FaceSet, FaceNetworks]) -> None:
    """A quarter of the real faces carry another's expression: better than chance, and below what can be trusted."""
    faces, networks = judged
    mixed = copy.copy(faces)
    wrong = np.random.default_rng(0).random(len(faces.expression)) < 0.25
    object.__setattr__(mixed, "expression", np.where(wrong, (faces.expression + 1) % 3, faces.expression))
    found = evaluate(None, mixed, networks, bootstrap=100)
    assert found.doubtful == {"expression", "expression_probability", "expression_change", "score"}
    assert [warning for warning in found.warnings if "expression judge" in warning and "do not trust" in warning]
    assert not evaluate(None, faces, networks, bootstrap=100).doubtful


def test_judges_of_other_expressions_are_one_sentence(make_faces: Make, judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces = make_faces([(f"p{k}", e, "a") for k in range(14) for e in ("neutral", "sad")])
    with pytest.raises(UserError, match="shows neutral, sad, and the judges were trained on neutral, happy, surprise"):
        evaluate(None, faces, judged[1])


def test_a_part_of_one_person_cannot_be_judged(make_faces: Make, judged: tuple[FaceSet, FaceNetworks]) -> None:
    networks = judged[1]
    faces = make_faces([(f"p{k}", e, "a") for k in range(14) for e in networks.expressions])
    object.__setattr__(faces, "identity", np.where(faces.split == "test", "alone", faces.identity))
    with pytest.raises(UserError, match="one person"):
        evaluate(None, faces, networks)
