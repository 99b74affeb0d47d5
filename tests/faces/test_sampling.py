import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visage.config.experiment import Augment
from visage.faces.sampling import Tuples


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
