"""Whose pictures to look at: a name that may stand for two people, and two names that may stand for one."""

import numpy as np

COUNT = 3
Doubts = dict[str, list[tuple[str, float]]]


def doubts(embedding: np.ndarray, people: np.ndarray, count: int = COUNT) -> Doubts:
    """The names to look at first, each with a cosine; `count` of each kind.

    embedding: N,D unit vectors of the identity judge. people: N, whose picture each is said to be. `one_name`: the
    lowest mean cosine among the pictures of one name. `two_names`: the highest between the mean pictures of two.
    It is an order and no verdict: where people have few pictures, clean sets reach the same values.
    """
    names, owner = np.unique(people, return_inverse=True)
    counts = np.bincount(owner)
    sums = np.zeros((len(names), embedding.shape[1]))
    np.add.at(sums, owner, embedding)
    several = np.flatnonzero(counts > 1)
    # Of n unit vectors the squared sum is n plus the cosines of all ordered pairs.
    own = (np.square(sums[several]).sum(1) - counts[several]) / (counts[several] * (counts[several] - 1))
    lowest = [(str(names[several[k]]), float(own[k])) for k in np.argsort(own)[:count]]
    centres = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-9)
    between = np.triu(centres @ centres.T, 1) - 2 * np.tri(len(names))
    highest = [np.unravel_index(place, between.shape) for place in np.argsort(-between, axis=None)[:count]]
    pairs = [(f"{names[a]} and {names[b]}", float(between[a, b])) for a, b in highest if a < b]
    return {"one_name": lowest, "two_names": pairs}
