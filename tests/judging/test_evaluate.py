"""An evaluation cannot be fooled: what copies, averages or is real gets what it deserves."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.judging.conftest import Make
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.evaluate import Evaluation, Judges, evaluate, pairs, quick
from visage.judging.fit import as_input
from visage.judging.train import FaceNetworks


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


def test_a_generator_that_copies_gets_the_copy_row(evaluation: Evaluation) -> None:
    assert figures(evaluation, "model") == pytest.approx(figures(evaluation, "copy"))
    assert [result.input for result in evaluation.results] == [r.input for r in evaluation.rows["copy"].results]


def test_a_perfect_generator_gets_what_real_faces_get(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces, networks = judged
    judges = Judges(networks, faces, "test")
    asked = pairs(faces, "test")
    every = as_input(torch.from_numpy(np.array(faces.faces)).permute(0, 3, 1, 2))

    def perfect(inputs: Tensor, condition: Tensor) -> Tensor:
        """Knows the true face of every input, by its pixels."""
        out = []
        for face, target in zip(inputs, condition.argmax(1).tolist(), strict=True):
            index = int((every - face).abs().sum((1, 2, 3)).argmin())
            place = np.flatnonzero((asked.input == index) & (asked.target == target))[0]
            out.append(every[asked.truth[place]])
        return torch.stack(out)

    found = evaluate(perfect, faces, networks, bootstrap=100)
    assert figures(found, "model")["score"] == pytest.approx(figures(found, "real")["score"])
    assert figures(found, "model")["ssim"] == pytest.approx(1, abs=1e-4)
    assert figures(found, "model")["l1"] == pytest.approx(0, abs=1e-6)
    assert quick(judges, perfect, asked)["score"] == pytest.approx(figures(found, "real")["score"])
    assert quick(judges, perfect, asked)["expression_change"] == pytest.approx(1)


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


def test_poor_judges_warn(make_faces: Make, judged: tuple[FaceSet, FaceNetworks]) -> None:
    """Noise in place of faces: nobody can be read from it, and the table says so."""
    networks = judged[1]
    faces = make_faces([(f"p{k}", e, s) for k in range(14) for e in networks.expressions for s in "ab"])
    found = evaluate(None, faces, networks, bootstrap=100)
    assert "model" not in found.rows
    assert any("expression judge" in warning and "do not trust" in warning for warning in found.warnings)
    assert any("identity judge" in warning for warning in found.warnings)


def test_a_part_of_one_person_cannot_be_judged(make_faces: Make, judged: tuple[FaceSet, FaceNetworks]) -> None:
    networks = judged[1]
    faces = make_faces([(f"p{k}", e, "a") for k in range(14) for e in networks.expressions])
    object.__setattr__(faces, "identity", np.where(faces.split == "test", "alone", faces.identity))
    with pytest.raises(UserError, match="one person"):
        evaluate(None, faces, networks)
