"""Procedural faces: exact labels, the same face for the same seed, at any size, and people one can tell apart."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.faces import synthetic
from visage.faces.align import EYES, inner_face_mask
from visage.faces.facs import AUS, EXPRESSIONS, au_vector, prototype
from visage.faces.synthetic import SyntheticRow, Traits, picture_of, traits
from visage.faces.synthetic.muscles import PLAIN, Nuisance

EMFACS = {
    "neutral": set(),
    "happy": {6, 12},
    "sad": {1, 4, 15},
    "surprise": {1, 2, 5, 26},
    "fear": {1, 2, 4, 5, 7, 20, 26},
    "anger": {4, 5, 7, 23},
    "disgust": {9, 15, 17},
    "contempt": {12, 14},
}

people = st.integers(0, 10_000)
expressions = st.sampled_from(EXPRESSIONS)


def render(traits: Traits, aus: Mapping[int, float], size: int, *, nuisance_seed: int | None = None) -> np.ndarray:
    """In the plain studio, or in a setting of a seed."""
    setting = PLAIN if nuisance_seed is None else Nuisance.drawn(np.random.default_rng([0x4E, nuisance_seed]))
    return synthetic.render(traits, aus, size, setting)


def everybody(people: int, size: int, seed: int) -> Iterator[tuple[SyntheticRow, np.ndarray]]:
    """Every person with every expression in two sittings."""
    for person, session, expression in product(range(people), range(2), EXPRESSIONS):
        yield picture_of(person, expression, session, size, seed)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance of two pictures in grey levels."""
    return float(np.abs(first.astype(float) - second).mean())


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_prototypes_are_those_of_emfacs(expression):
    aus = prototype(expression)
    assert set(aus) == EMFACS[expression]
    assert set(np.array(AUS)[au_vector(aus) > 0]) == EMFACS[expression]
    aus[1] = 0.5
    assert prototype(expression).get(1) != 0.5


@pytest.mark.parametrize("aus", [{3: 0.5}, {12: 1.2}, {12: -0.1}, {12: float("nan")}])
def test_an_au_that_is_unknown_or_out_of_range_is_refused(aus):
    with pytest.raises(ValueError, match=f"AU {next(iter(aus))} "):
        render(traits(0), aus, 32)


@settings(max_examples=15, deadline=None)
@given(person=people, expression=expressions, nuisance=st.none() | people)
def test_same_seed_same_pixels(person, expression, nuisance):
    first = render(traits(person), prototype(expression), 64, nuisance_seed=nuisance)
    assert np.array_equal(first, render(traits(person), prototype(expression), 64, nuisance_seed=nuisance))


@settings(max_examples=25, deadline=None)
@given(
    person=people,
    aus=st.dictionaries(st.sampled_from(AUS), st.floats(0, 1)),
    size=st.sampled_from((32, 64, 128, 256, 512)),
    nuisance=st.none() | people,
)
def test_any_action_units_render_at_any_size(person, aus, size, nuisance):
    with np.errstate(invalid="raise", divide="raise"):
        face = render(traits(person), aus, size, nuisance_seed=nuisance)
    assert face.shape == (size, size, 3)
    assert face.dtype == np.uint8
    assert face.std() > 10


@settings(max_examples=15, deadline=None)
@given(person=people, nuisance=st.none() | people)
def test_pupils_are_where_alignment_puts_them(person, nuisance):
    size = 256
    face = render(traits(person), {5: 0.5}, size, nuisance_seed=nuisance).max(axis=2).astype(float)
    centres = (np.arange(size) + 0.5) / size
    for x, y in EYES:
        near = np.hypot(centres[None, :] - x, centres[:, None] - y) < 0.02
        rows, columns = np.nonzero(near & (face < 40))
        assert len(rows) > 10
        assert abs(centres[columns].mean() - x) < 0.005
        assert abs(centres[rows].mean() - y) < 0.005


@settings(max_examples=10, deadline=None)
@given(person=people)
def test_action_units_at_rest_are_the_neutral_face(person):
    at_rest = render(traits(person), dict.fromkeys(AUS, 0.0), 64)
    assert np.array_equal(at_rest, render(traits(person), prototype("neutral"), 64))


@pytest.mark.parametrize("au", AUS)
def test_every_action_unit_moves_the_face_the_more_the_stronger(au):
    rest, half, full = (render(traits(5), {au: strength}, 128) for strength in (0, 0.5, 1))
    assert 0.03 < difference(rest, half) < difference(rest, full)


def test_contempt_is_on_the_persons_left():
    rest, contempt = render(traits(5), {}, 128), render(traits(5), prototype("contempt"), 128)
    change = np.abs(contempt.astype(float) - rest).mean(axis=2)[80:]
    assert change[:, 64:].mean() > 3 * change[:, :64].mean()
    happy = np.abs(render(traits(5), prototype("happy"), 128).astype(float) - rest).mean(axis=2)[80:]
    assert 0.7 < happy[:, 64:].mean() / happy[:, :64].mean() < 1.4


@settings(max_examples=20, deadline=None)
@given(pair=st.lists(people, min_size=2, max_size=2, unique=True), expression=expressions)
def test_two_people_differ_in_the_inner_face(pair, expression):
    inner = inner_face_mask(64)[:, :, None]
    first, second = (render(traits(person), prototype(expression), 64) * inner for person in pair)
    assert difference(first, second) > 0.8


@settings(max_examples=10, deadline=None)
@given(person=people, expression=expressions)
def test_the_same_look_at_every_size(person, expression):
    small = render(traits(person), prototype(expression), 64, nuisance_seed=person)
    large = render(traits(person), prototype(expression), 256, nuisance_seed=person)
    assert difference(small, large.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))) < 5


def test_sittings_differ_and_the_plain_studio_is_fixed():
    sittings = [render(traits(3), {}, 64, nuisance_seed=seed) for seed in range(4)] + [render(traits(3), {}, 64)]
    for number, first in enumerate(sittings):
        for second in sittings[number + 1 :]:
            assert difference(first, second) > 3


def test_pictures_have_names_and_labels_and_repeat():
    made = list(everybody(3, 32, 7))
    rows = [row for row, _ in made]
    assert len(made) == 3 * 2 * len(EXPRESSIONS)
    assert {row.identity for row in rows} == {"s7-p0000", "s7-p0001", "s7-p0002"}
    assert {(row.session, row.expression) for row in rows} == {(s, e) for s in (0, 1) for e in EXPRESSIONS}
    for row, face in made:
        assert face.shape == (32, 32, 3)
        assert row.aus.dtype == np.float32
        for au, strength in prototype(row.expression).items():
            assert 0.8 * strength - 1e-6 <= row.aus[AUS.index(au)] <= strength + 1e-6
        others = [k for k, au in enumerate(AUS) if au not in prototype(row.expression)]
        assert row.aus[others].max() <= 0.06
    # More people add to the set and change nobody; a single picture can be had by itself.
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(made, everybody(2, 32, 7), strict=False))
    row, face = picture_of(2, "sad", 1, 32, 7)
    index = next(i for i, r in enumerate(rows) if (r.identity, r.expression, r.session) == ("s7-p0002", "sad", 1))
    assert np.array_equal(face, made[index][1])
    assert np.array_equal(row.aus, rows[index].aus)


def test_sets_of_two_seeds_share_nobody():
    _, first = picture_of(0, "neutral", 0, 64, 0)
    _, second = picture_of(0, "neutral", 0, 64, 1)
    assert difference(first, second) > 5


@pytest.mark.slow
def test_unseen_people_and_their_expressions_are_told_apart():
    """Linear networks suffice for the short form; benchmarks/synthetic_faces.py has the long one."""
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline

    rows, faces = zip(*everybody(50, 32, 1), strict=True)
    person = np.array([int(row.identity.split("-p")[1]) for row in rows])
    session = np.array([row.session for row in rows])
    known = person < 38
    pixels = np.stack(faces).astype(np.float32) / 255

    def fitted(inputs: np.ndarray, labels: np.ndarray):
        discriminant = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
        return make_pipeline(PCA(120, random_state=0), discriminant).fit(inputs[known], labels[known])

    whole = pixels.reshape(len(pixels), -1)
    expression = np.array([row.expression for row in rows])
    accuracy = (fitted(whole, expression).predict(whole[~known]) == expression[~known]).mean()
    assert accuracy > 0.75  # chance is 0.125

    inner = (pixels * inner_face_mask(32)[:, :, None]).reshape(len(pixels), -1)
    points = fitted(inner, person).transform(inner[~known])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    # Pairs of two sittings, so that one light and one turn of the head cannot give a person away.
    pairs = np.triu(session[~known][:, None] != session[~known][None, :], 1)
    same = (person[~known][:, None] == person[~known][None, :])[pairs]
    assert roc_auc_score(same, (points @ points.T)[pairs]) > 0.9
