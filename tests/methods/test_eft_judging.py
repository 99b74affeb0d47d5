"""Agreement of action units: against the textbook's formulas, and on answers whose figures are known."""

from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from visage.config.experiment import Judge
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.judges import Judges
from visage.judging.metrics import score
from visage.judging.networks.train import FaceNetworks
from visage.judging.pairs import at_rest, pairings
from visage.judging.results import Evaluation
from visage.methods.eft.judging.agreement import (
    PRESENT,
    agreement,
    correlations,
    f1_scores,
    mean_interval,
    transfer_estimates,
    weights_of,
)
from visage.methods.eft.judging.evaluate import evaluate_transfer
from visage.methods.eft.judging.judges import TransferJudges, quick_transfer
from visage.methods.eft.judging.probes import ridge
from visage.methods.eft.judging.regression import unit_changes
from visage.methods.eft.judging.unit_judge import FILE, unit_judge
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import UnitMap

Judged = tuple[FaceSet, FaceNetworks]
JUDGE = Judge(images=4_000, bootstrap=100)


@pytest.fixture(scope="module")
def judges(judged: Judged) -> TransferJudges:
    faces, networks = judged
    return TransferJudges(Judges(networks, faces, "test", paired=False), JUDGE)


def numbers(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    truth = random.uniform(size=(40, 3))
    return truth, truth + random.normal(0, 0.3, truth.shape), [f"p{k % 8}" for k in range(40)]


def test_correlation_and_f1_are_the_textbook_s() -> None:
    truth, read, _ = numbers()
    once = np.ones((1, len(truth)))
    expected = [np.corrcoef(truth[:, u], read[:, u])[0, 1] for u in range(3)]
    np.testing.assert_allclose(correlations(truth, read, once)[0], expected)
    expected = [f1_score(truth[:, u] >= PRESENT, read[:, u] >= PRESENT) for u in range(3)]
    np.testing.assert_allclose(f1_scores(truth, read, once)[0], expected)


def test_what_is_not_known_or_never_shown_does_not_count() -> None:
    truth, read, _ = numbers()
    once = np.ones((1, len(truth)))
    truth[:, 2] = 0
    assert np.isnan(correlations(truth, read, once)[0, 2])
    assert np.isnan(f1_scores(truth, read, once)[0, 2])
    assert mean_interval(correlations(truth, read, once)).value == pytest.approx(
        correlations(truth, read, once)[0, :2].mean()
    )
    whole = correlations(truth[:30], read[:30], np.ones((1, 30)))
    truth[30:] = np.nan
    np.testing.assert_allclose(correlations(truth, read, once), whole)


def test_people_are_drawn_whole_and_the_first_row_is_everybody() -> None:
    _, _, people = numbers()
    weights = weights_of(people, 50)
    assert (weights[0] == 1).all()
    for name in set(people):
        own = weights[:, np.array(people) == name]
        assert (own == own[:, :1]).all()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=12), st.floats(0.05, 1))
def test_the_mean_over_any_pairs_is_a_ratio_of_means(missed: list[float], driverless: float) -> None:
    """What makes the gate's mean over single results and the table's figure one and the same."""
    values = agreement(np.array(missed), driverless)
    assert values.max() <= 1
    assert values[:3].mean() == pytest.approx(1 - np.mean(missed[:3]) / driverless)
    assert agreement(np.full(3, driverless), driverless) == pytest.approx(np.zeros(3), abs=1e-12)


def test_the_score_is_made_of_agreement_and_identity() -> None:
    columns = {"identity_similarity": np.full(4, 0.5), "au_agreement": agreement(np.full(4, 0.1), 0.4)}
    found = transfer_estimates(columns, ["a", "a", "b", "b"], 20)
    assert found["au_agreement"].value == pytest.approx(0.75)
    assert found["score"].value == pytest.approx(0.6)
    below = transfer_estimates(columns | {"au_agreement": np.full(4, -0.5)}, ["a", "a", "b", "b"], 20)
    assert (below["au_agreement"].value, below["score"].value) == (-0.5, 0)


def test_drivers_are_other_people_with_other_expressions(judged: Judged) -> None:
    faces, _ = judged
    asked = pairings(faces, "test")
    assert set(asked.source) == set(faces.part("test"))
    assert (faces.identity[asked.source] != faces.identity[asked.driver]).all()
    assert (faces.expression[asked.source] != faces.expression[asked.driver]).all()
    assert (faces.identity[asked.source] == faces.identity[asked.reference]).all()
    assert (asked.reference != asked.source).all()
    again = pairings(faces, "test", limit=20)
    assert len(again) == 20


def test_the_judge_of_units_reads_faces_it_never_saw_and_is_kept(judged: Judged, judges: TransferJudges) -> None:
    assert judges.accuracy["action_units"] > 0.8
    faces, _ = judged
    kept = faces.dir / FILE
    before = kept.stat().st_mtime_ns
    again = unit_judge(faces, JUDGE)
    assert kept.stat().st_mtime_ns == before
    assert all(
        (a == b).all() for a, b in zip(again.state_dict().values(), judges.network.state_dict().values(), strict=True)
    )
    kept.write_bytes(b"damaged")
    unit_judge(faces, JUDGE)
    assert kept.stat().st_size > 1000


def test_copies_score_what_they_must(judges: TransferJudges) -> None:
    asked = pairings(judges.faces, "test", limit=90)
    source = quick_transfer(judges, lambda faces, drivers: faces, asked)
    driver = quick_transfer(judges, lambda faces, drivers: drivers, asked)
    assert source["au_agreement"] <= 1e-6
    assert source["score"] == pytest.approx(0, abs=1e-6)
    assert driver["au_agreement"] == pytest.approx(1, abs=1e-4)
    assert driver["au_correlation"] > 0.8 > 0.1 > source["au_correlation"]
    assert source["identity_similarity"] > driver["identity_similarity"] + 0.3
    assert driver["expression"] > 0.8 > source["expression"]


def test_an_evaluation_has_the_rows_that_need_no_transfer_and_comes_back(judged: Judged, tmp_path: Path) -> None:
    faces, networks = judged
    network = Disentangler(64, 8, 8, 17).eval()
    told = evaluate_transfer(network, faces, networks, JUDGE, beside=lambda inputs, condition: inputs)
    assert list(told.rows) == ["model", "copy", "rest", "constant", "regression", "driver", "named"]
    reached = {name: row.metrics["au_agreement"].value for name, row in told.rows.items()}
    assert reached["driver"] == pytest.approx(1, abs=1e-4)
    assert reached["named"] == pytest.approx(reached["copy"], abs=1e-4)
    assert max(reached[name] for name in ("copy", "rest", "constant")) == pytest.approx(0, abs=1e-9)
    assert all(told.rows[name].metrics["score"].value <= 1e-6 for name in ("copy", "rest", "constant"))
    pictured = {name: row.metrics for name, row in told.rows.items() if name != "constant"}
    for row in pictured.values():
        assert row["au_correlation"].low <= row["au_correlation"].value <= row["au_correlation"].high
    distances = {name: row["frechet"].value for name, row in pictured.items()}
    assert distances["driver"] < distances["copy"] < distances["model"]  # of the driver's expression, real, of noise
    assert told.labels == "prototype"
    assert any("weak" in warning for warning in told.warnings)
    assert set(told.action_units or {}) == set(pictured)
    assert {"free_units", "related_identity", "identity_chance", "same_twice"} <= set(told.probes or {})
    again = Evaluation.from_dict(told.to_dict())
    assert again.rows["model"].metrics == told.rows["model"].metrics
    for row in told.rows.values():  # the single results, which the gate and the ablation compare, say the same
        probabilities = [result.probability for result in row.results]
        assert np.mean(probabilities) == pytest.approx(row.metrics["au_agreement"].value)
        similarities = [result.similarity for result in row.results]
        assert score(np.mean(similarities), np.mean(probabilities)) == pytest.approx(row.metrics["score"].value)
    constant, copied = told.rows["constant"], told.rows["copy"]
    assert set(constant.metrics) == {"identity", "identity_similarity", "au_agreement", "score"}
    assert constant.metrics["identity"] == copied.metrics["identity"]
    regression = told.rows["regression"].metrics
    assert regression["au_agreement"].value > reached["copy"]
    assert regression["au_correlation"].low > 0 > copied.metrics["au_correlation"].value - 0.1
    assert regression["identity_similarity"].value > copied.metrics["identity_similarity"].value - 0.2
    assert told.rows["rest"].metrics["identity_similarity"].value < 0.99  # held to another picture than itself


def test_at_rest_is_the_source_s_own_neutral_picture(judged: Judged) -> None:
    faces, _ = judged
    asked = pairings(faces, "test")
    rest = at_rest(faces, asked)
    neutral = faces.expressions.index("neutral")
    assert (faces.identity[rest] == faces.identity[asked.source]).all()
    assert (faces.expression[rest] == neutral).all()
    already = faces.expression[asked.source] == neutral
    assert (rest[already] == asked.source[already]).all()
    assert (rest != asked.reference).all()  # everybody has two
    never = copy(faces)
    object.__setattr__(never, "expression", np.where(faces.expression == neutral, 1, faces.expression))
    assert (at_rest(never, asked) == asked.source).all()


def test_what_a_unit_changes_is_found_by_least_squares(judged: Judged) -> None:
    """Of faces that are made of known changes; what is the person's own falls out."""
    faces = copy(judged[0])
    random = np.random.default_rng(0)
    units = random.uniform(size=(len(faces.identity), 2))
    units[:, 1] = np.where(random.uniform(size=len(units)) < 0.1, np.nan, units[:, 1])
    own = {name: random.uniform(100, 150, faces.faces.shape[1:]) for name in faces.identity}
    true = random.uniform(-40, 40, (2, *faces.faces.shape[1:]))
    made = [
        own[name] + np.tensordot(np.nan_to_num(one), true, 1) for name, one in zip(faces.identity, units, strict=True)
    ]
    object.__setattr__(faces, "faces", np.array(made).astype(np.float32))
    found = unit_changes(faces, units) * 127.5
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).numpy(), true, atol=1)


class Oracle(UnitMap):
    """Knows whose faces show the units that are asked for, and gives the first of those; else the face itself."""

    def __init__(self, judges: TransferJudges) -> None:
        super().__init__(len(AUS), 8)
        self.judges = judges
        self.known.fill_(True)

    def told(self, network: Disentangler, faces: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        members = self.judges.faces.part(self.judges.part)
        labels = self.judges.labels.values[members]
        if asked.isnan().any():
            return faces
        same = [members[np.abs(labels - one).max(1) < 1e-5][0] for one in asked.numpy()]
        return self.judges.judges.pictures(np.array(same))


def test_a_model_that_is_told_units_has_a_row_and_what_it_does_with_one_alone(
    judged: Judged, judges: TransferJudges
) -> None:
    faces, networks = judged
    network = Disentangler(64, 8, 8, len(AUS)).eval()
    told = evaluate_transfer(network, faces, networks, JUDGE, unit_map=Oracle(judges))
    assert list(told.rows) == ["model", "copy", "rest", "constant", "regression", "driver", "units"]
    row, driver = told.rows["units"].metrics, told.rows["driver"].metrics
    assert row["au_correlation"].value == pytest.approx(driver["au_correlation"].value, abs=0.05)
    assert row["au_agreement"].value > 0.5
    assert row["identity_similarity"].value < told.rows["copy"].metrics["identity_similarity"].value - 0.3
    assert told.alone
    assert set(told.alone) == set((told.action_units or {})["units"])
    assert all(one.own.value == one.others.value == 0 for one in told.alone.values())
    again = Evaluation.from_dict(told.to_dict())
    assert again.alone == told.alone
    moved = evaluate_transfer(network, faces, networks, JUDGE, unit_map=Raiser(judges)).alone
    assert moved
    assert moved["12"].own.value > 0.5 > 2 * moved["12"].others.value
    assert moved["12"].own.low <= moved["12"].own.value <= moved["12"].own.high


class Raiser(Oracle):
    """Answers AU 12 told alone with a happy face, and 0 with a neutral one."""

    def told(self, network: Disentangler, faces: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        place = AUS.index(12)
        members = self.judges.faces.part(self.judges.part)
        kind = self.judges.faces.expressions.index("happy" if asked[0, place] == 1 else "neutral")
        shown = members[self.judges.faces.expression[members] == kind]
        return self.judges.judges.pictures(np.resize(shown, len(faces)))


def test_the_probe_finds_what_is_there_and_nothing_in_noise() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(300, 20))
    outputs = inputs[:, :2] @ random.normal(size=(2, 2))
    read = ridge(inputs[:200], outputs[:200], inputs[200:])
    assert correlations(outputs[200:], read, np.ones((1, 100))).min() > 0.95
    noise = random.normal(size=(300, 2))
    read = ridge(inputs[:200], noise[:200], inputs[200:])
    assert np.abs(correlations(noise[200:], read, np.ones((1, 100)))).max() < 0.4
