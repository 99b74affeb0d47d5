"""Names that do not fit the faces come first among those to look at."""

import numpy as np
import pytest

from visage.faces.faceset import FaceSet
from visage.judging.networks.reach import apply, doubts
from visage.judging.networks.train import FaceNetworks, resized

Judged = tuple[FaceSet, FaceNetworks]


@pytest.fixture(scope="module")
def seen(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and names of people that the judge never saw."""
    faces, networks = judged
    unseen = np.concatenate([faces.part("test"), faces.part("validation")])
    return apply(networks.identity_judge, resized(faces, unseen)).numpy(), faces.identity[unseen]


def test_two_people_under_one_name_come_first(seen: tuple[np.ndarray, np.ndarray]) -> None:
    embedding, people = seen
    first, second, *_ = np.unique(people)
    found = doubts(embedding, np.where(people == second, first, people))["one_name"]
    assert found[0][0] == first
    assert found[0][1] < found[1][1] - 0.1


def test_one_person_under_two_names_comes_first(seen: tuple[np.ndarray, np.ndarray]) -> None:
    embedding, people = seen
    name = people[0]
    renamed = people.astype("U20")
    renamed[np.flatnonzero(people == name)[::2]] = "somebody"
    found = doubts(embedding, renamed)["two_names"]
    assert set(found[0][0].split(" and ")) == {name, "somebody"}
    assert found[0][1] > found[1][1]


def test_the_cosine_of_a_name_is_the_mean_over_its_pairs() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = dict(doubts(vectors, np.array(["a", "a", "a", "b", "b"]))["one_name"])
    cosines = vectors[:3] @ vectors[:3].T
    assert found["a"] == pytest.approx(cosines[np.triu_indices(3, 1)].mean())
    assert found["b"] == pytest.approx(vectors[3] @ vectors[4])


def test_the_set_keeps_its_doubts(judged: Judged) -> None:
    _, networks = judged
    assert [len(networks.doubts[kind]) for kind in ("one_name", "two_names")] == [3, 3]
