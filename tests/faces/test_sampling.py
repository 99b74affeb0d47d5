from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.config.experiment import Augment
from visage.errors import UserError
from visage.faces.sampling import Likeness, Tuples


def tuples(people: int = 5, expressions: int = 3, pictures: int = 2, seed: int = 0) -> Tuples:
    identity = np.repeat([f"p{i}" for i in range(people)], expressions * pictures)
    expression = np.tile(np.repeat(np.arange(expressions), pictures), people)
    return Tuples(identity, expression, np.arange(len(identity)), Augment(), seed)


@settings(max_examples=200)
@given(st.integers(0, 2**40), st.integers(2, 6), st.integers(2, 5), st.integers(1, 3))
def test_every_tuple_is_what_the_losses_take_it_for(k: int, people: int, expressions: int, pictures: int) -> None:
    drawer = tuples(people, expressions, pictures)
    drawn = drawer.draw(k)
    face, target, positive, other, negative = drawn.pictures
    who, what = drawer.identity, drawer.expression
    assert who[face] == who[target] == who[positive]
    assert who[other] == who[negative] != who[face]
    assert what[target] == drawn.target
    # The same sitting: both are the n-th of their expression.
    assert face % pictures == target % pictures
    assert positive != face
    assert what[other] == what[face]
    assert what[negative] == what[target]


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 40))
def test_tuples_depend_on_their_index_alone(first: int, left: int, right: int) -> None:
    whole = tuples().batch(first, left + right)
    a, b = tuples().batch(first, left), tuples().batch(first + left, right)
    np.testing.assert_array_equal(whole.pictures, np.concatenate([a.pictures, b.pictures], axis=1))
    np.testing.assert_array_equal(whole.targets, np.concatenate([a.targets, b.targets]))
    np.testing.assert_array_equal(whole.augmentation, np.concatenate([a.augmentation, b.augmentation]))


def test_another_seed_draws_other_tuples() -> None:
    a, b = tuples(seed=0).batch(0, 64), tuples(seed=1).batch(0, 64)
    assert (a.pictures != b.pictures).any()


def test_most_targets_differ_from_the_input_and_some_do_not() -> None:
    drawer = tuples()
    batch = drawer.batch(0, 2000)
    same = (drawer.expression[batch.pictures[0]] == batch.targets).mean()
    assert 0.05 < same < 0.15


def test_only_members_are_drawn() -> None:
    whole = tuples(people=8)
    members = np.flatnonzero(np.isin(whole.identity, ["p1", "p4", "p6"]))
    drawer = Tuples(whole.identity, whole.expression, members, Augment(), 0)
    assert set(drawer.batch(0, 500).pictures.ravel()) <= set(members)


def test_one_person_is_too_few() -> None:
    with pytest.raises(ValueError, match="1 people"):
        tuples(people=1)


def with_likeness(hardest: int, people: int = 12, pictures: int = 2, seed: int = 0) -> Tuples:
    plain = tuples(people, pictures=pictures, seed=seed)
    random = np.random.default_rng(people)
    half = np.array([int(name[1:]) % 2 for name in plain.identity])
    vectors = random.normal(size=(len(plain.identity), 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(plain, likeness=Likeness(half, vectors, hardest))


@settings(max_examples=200)
@given(st.integers(0, 2**40), st.integers(4, 12), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
def test_of_more_people_one_at_least_as_like_is_taken_and_nothing_else_changes(
    k: int, people: int, pictures: int, few: int, more: int
) -> None:
    drawers = [with_likeness(hardest, people, pictures) for hardest in (few, few + more)]
    assert drawers[0].likeness
    who, what = drawers[0].identity, drawers[0].expression
    half, vectors = drawers[0].likeness.half, drawers[0].likeness.vectors
    drawn = [drawer.draw(k) for drawer in drawers]
    for one in drawn:
        face, _, _, other, negative = one.pictures
        assert who[other] == who[negative] != who[face]
        assert half[other] == half[face]
        assert (what[other], what[negative]) == (what[face], one.target)
    assert drawn[0].pictures[:3] == drawn[1].pictures[:3]
    assert drawn[0].target == drawn[1].target
    np.testing.assert_array_equal(drawn[0].augmentation, drawn[1].augmentation)
    first, second = (vectors[one.pictures[1]] @ vectors[one.pictures[4]] for one in drawn)
    assert second >= first - 1e-12


@given(st.integers(0, 10_000), st.integers(1, 20), st.integers(1, 20))
def test_hard_tuples_depend_on_their_index_alone(first: int, left: int, right: int) -> None:
    whole = with_likeness(4).batch(first, left + right)
    parts = [with_likeness(4).batch(start, count) for start, count in ((first, left), (first + left, right))]
    np.testing.assert_array_equal(whole.pictures, np.concatenate([part.pictures for part in parts], axis=1))


def test_one_who_shows_the_target_is_taken_before_one_who_is_more_alike() -> None:
    """Or the expression would tell the two faces apart."""
    whole = with_likeness(40)
    assert whole.likeness
    rare = np.flatnonzero((whole.expression < 2) | np.isin(whole.identity, ["p0", "p1", "p2", "p3"]))
    drawer = replace(whole, members=rare)
    batch = drawer.batch(0, 300)
    assert (whole.expression[batch.pictures[4]] == batch.targets).all()


def test_the_draws_of_before_stay_the_same() -> None:
    """A run that is gone on with, or repeated, sees the tuples that it saw."""
    batch = tuples(seed=3).batch(1000, 4)
    assert batch.pictures.tolist() == [
        [26, 9, 6, 11],
        [24, 11, 8, 9],
        [25, 6, 11, 6],
        [15, 27, 12, 22],
        [13, 29, 14, 20],
    ]
    assert batch.targets.tolist() == [0, 2, 1, 1]


def test_a_half_of_one_person_is_too_few() -> None:
    with pytest.raises(UserError, match="of the 3 training people"):
        with_likeness(1, people=3)
