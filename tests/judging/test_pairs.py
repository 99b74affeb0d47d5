"""Which pairs are judged, and what they are held against."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.judging.conftest import Make
from visage.config.data import Shares
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.pairs import NONE, check_people, pairs

HALVES = Shares(train=0.4, validation=0.3, test=0.3)
PEOPLE = [f"p{k}" for k in range(12)]


def check(faces: FaceSet, part: str) -> None:
    found = pairs(faces, part)
    person = faces.identity
    assert len(found)
    for x, c, y, r, real in zip(
        found.input, found.target, found.truth, found.reference, found.real_reference, strict=True
    ):
        assert faces.split[x] == part
        assert faces.expression[x] != c
        assert r != x
        assert person[r] == person[x]
        if y != NONE:
            assert person[y] == person[x]
            assert faces.expression[y] == c
            assert real != y
            assert person[real] == person[x]
            pictures = np.sum(person == person[x])
            assert (r == real) == (pictures > 2)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["neutral", "happy", "sad"]), st.sampled_from("ab")),
        max_size=40,
        unique=True,
    )
)
def test_every_pair_is_fair(make_faces: Make, more: list[tuple[str, str, str]]) -> None:
    full = [(person, shown, "0") for person in PEOPLE for shown in ("neutral", "happy")]
    check(make_faces([*full, *more], shares=HALVES), "test")


def test_every_input_meets_every_other_expression(make_faces: Make) -> None:
    shown = ("neutral", "happy", "sad")
    faces = make_faces([(p, e, s) for p in PEOPLE for e in shown for s in "ab"], shares=HALVES)
    found = pairs(faces, "test")
    assert len(found) == len(faces.part("test")) * 2
    assert (found.truth != NONE).all()
    # The same sitting: pictures were written session by session within an expression.
    sitting = np.array([path[-len("_a.png") :] for path in faces.path])
    assert (sitting[found.input] == sitting[found.truth]).all()


def test_a_limit_takes_some_of_the_same_pairs(make_faces: Make) -> None:
    faces = make_faces([(p, e, s) for p in PEOPLE for e in ("neutral", "happy", "sad") for s in "ab"], shares=HALVES)
    every, few, again = pairs(faces, "test"), pairs(faces, "test", 7), pairs(faces, "test", 7)
    assert len(few) == 7
    rows = {tuple(row) for row in np.stack([every.input, every.target, every.truth, every.reference]).T.tolist()}
    assert {tuple(row) for row in np.stack([few.input, few.target, few.truth, few.reference]).T.tolist()} <= rows
    assert np.array_equal(few.input, again.input)
    assert np.array_equal(few.reference, again.reference)


def test_people_with_one_picture_leave_nothing_to_judge(make_faces: Make) -> None:
    faces = make_faces([(p, ("neutral", "happy")[k % 2], "a") for k, p in enumerate(PEOPLE)], shares=HALVES)
    with pytest.raises(UserError, match="no test person has two"):
        pairs(faces, "test")


def test_a_part_too_small_to_judge_is_refused(make_faces: Make) -> None:
    rows = [(person, shown, "a") for person in PEOPLE[:5] for shown in ("neutral", "happy")]
    few = make_faces(rows, shares=Shares(train=0.6, validation=0.1, test=0.3))
    sizes = {part: len(set(few.identity[few.part(part)])) for part in ("train", "validation", "test")}
    assert 1 in sizes.values(), sizes
    for part, people in sizes.items():
        if people > 1:
            check_people(few, part)
            continue
        with pytest.raises(UserError, match=f"the {part} part has one person .* needs two people"):
            check_people(few, part)
