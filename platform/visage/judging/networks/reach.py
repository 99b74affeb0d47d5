"""What judges reach on real faces, and whose pictures they say somebody should look at."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from visage.faces.align import inner_face_mask
from visage.judging.metrics import genuine_and_impostors, verification
from visage.models.pixels import as_input

DOUBTS = 3
Doubts = dict[str, list[tuple[str, float]]]


@torch.inference_mode()
def apply(network: Callable[[Tensor], Tensor], faces: Tensor) -> Tensor:
    """`network` over faces N,3,S,S (uint8, or float in [-1, 1]) in batches of 64."""
    parts = (network(as_input(b) if b.dtype == torch.uint8 else b) for b in faces.split(64))
    return torch.cat(list(parts))


def reached(
    networks: Mapping[str, nn.Module], pictures: Tensor, people: Sequence[str], expression: np.ndarray
) -> dict[str, float]:
    """What a face set's networks, by their names, reach on real faces of people whom none has seen.

    pictures: uint8 N,3,S,S. people, expression: N.
    """
    report: dict[str, float] = {"people": len(set(people)), "pictures": len(people)}
    for name in ("expression_judge", "check", "reader"):
        report[f"{name}_accuracy"] = accuracy(networks[name], pictures, expression)
    for name in ("identity_judge", "encoder"):
        genuine, impostors = genuine_and_impostors(apply(networks[name], pictures).numpy(), people)
        if len(genuine) and len(impostors):
            report[f"{name}_verification"] = verification(genuine, impostors).true_accept_rate
            report[f"{name}_genuine_similarity"] = float(genuine.mean())
            report[f"{name}_impostor_similarity"] = float(impostors.mean())
    follows = swapped_face_guard(networks["identity_judge"], pictures, people)
    return report if follows is None else {**report, "identity_judge_follows_face": follows}


def accuracy(judge: Callable[[Tensor], Tensor], pictures: Tensor, expression: np.ndarray) -> float:
    """The share of pictures N,3,S,S (uint8) whose expression N is what the judge finds likeliest."""
    return _share(apply(judge, pictures).argmax(1) == torch.from_numpy(expression))


def recognised(judge: Callable[[Tensor], Tensor], pictures: Tensor, people: Sequence[str]) -> float:
    """The verification rate among pictures N,3,S,S (uint8) of N people; 0 where there is nothing to verify."""
    genuine, impostors = genuine_and_impostors(apply(judge, pictures).numpy(), people)
    return verification(genuine, impostors).true_accept_rate if len(genuine) and len(impostors) else 0.0


def swapped_face_guard(judge: Callable[[Tensor], Tensor], pictures: Tensor, people: Sequence[str]) -> float | None:
    """How often an identity judge follows the face and not the frame: the inner face of A in the head of B.

    pictures: uint8 N,3,S,S, aligned. people: N. The judge follows the face where such a picture is nearer to another
    picture of A than to the picture of B that lent the head. None when no person has two pictures.
    """
    names = np.asarray(people)
    mask = torch.from_numpy(inner_face_mask(pictures.shape[-1]))
    own = [
        (first, second)
        for first, second in zip(*np.triu_indices(len(names), 1), strict=True)
        if names[first] == names[second]
    ]
    own = [pair for place, pair in enumerate(own) if place == 0 or names[own[place - 1][0]] != names[pair[0]]]
    if len(own) < 2:
        return None
    first, second = np.array(own).T
    lender = np.roll(first, 1)
    swapped = torch.lerp(as_input(pictures[lender]), as_input(pictures[first]), mask)
    seen = apply(judge, swapped)
    face, frame = apply(judge, pictures[second]), apply(judge, pictures[lender])
    return _share((seen * face).sum(1) > (seen * frame).sum(1))


def _share(hits: Tensor) -> float:
    return float(hits.float().mean())


def doubts(embedding: np.ndarray, people: np.ndarray) -> Doubts:
    """The names to look at first, each with a cosine; DOUBTS of each kind.

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
    lowest = [(str(names[several[k]]), float(own[k])) for k in np.argsort(own)[:DOUBTS]]
    centres = sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-9)
    between = np.triu(centres @ centres.T, 1) - 2 * np.tri(len(names))
    highest = [np.unravel_index(place, between.shape) for place in np.argsort(-between, axis=None)[:DOUBTS]]
    pairs = [(f"{names[a]} and {names[b]}", float(between[a, b])) for a, b in highest if a < b]
    return {"one_name": lowest, "two_names": pairs}
