"""Leak tests: what a linear probe reads from the features that should not hold it, beside those that should."""

import numpy as np
import torch
import torch.nn.functional as F

from visage.judging.metrics import Estimate, interval_over_people
from visage.judging.pairs import BATCH
from visage.methods.eft.judging.agreement import correlations, mean_interval, weights_of
from visage.methods.eft.judging.judges import TransferJudges
from visage.methods.eft.networks.disentangler import Disentangler

CELLS = 4  # a side: the AU-free feature is pooled to so many before it is probed
RIDGE = 0.1  # of the mean variance


def probes(generator: Disentangler, judges: TransferJudges, resamplings: int) -> dict[str, Estimate]:
    """Five figures, with 95 % intervals over people.

    free_units, related_units: mean correlation with the labels, on the part's people, of action units that a probe
    reads from each feature; it is fitted to the training people. Chance is 0. free_identity, related_identity: how
    often a probe tells the part's people by each feature, fitted to every other picture of theirs and asked for the
    rest; identity_chance is what guessing reaches. same_twice: by how many levels of 255 a picture changes that is
    source and driver at once.
    """
    faces, known = judges.faces, judges.labels.known
    learn, asked = faces.part("train"), faces.part(judges.part)
    people = faces.identity[asked]
    truth = judges.labels.values[:, known]
    weights = weights_of(people, resamplings)
    found = {}
    of_learn, of_asked = (_features(generator, judges, pictures) for pictures in (learn, asked))
    names, owner = np.unique(people, return_inverse=True)
    rank = np.array([(owner[:k] == own).sum() for k, own in enumerate(owner)])
    first, rest = rank % 2 == 0, rank % 2 == 1
    for kind in ("free", "related"):
        read = ridge(of_learn[kind], np.nan_to_num(truth[learn]), of_asked[kind])
        found[f"{kind}_units"] = mean_interval(correlations(truth[asked].astype(float), read, weights))
        if rest.any():
            told = ridge(of_asked[kind][first], np.eye(len(names))[owner[first]], of_asked[kind][rest]).argmax(1)
            right = (told == owner[rest]).astype(float)
            found[f"{kind}_identity"] = interval_over_people(right, people[rest], resamplings)
    chance = 1 / len(names)
    found["identity_chance"] = Estimate(chance, chance, chance)
    return {**found, "same_twice": interval_over_people(_own(generator, judges, asked), people, resamplings)}


@torch.inference_mode()
def _own(generator: Disentangler, judges: TransferJudges, pictures: np.ndarray) -> np.ndarray:
    """By how many levels of 255 each of N pictures changes under its own expression."""
    found = []
    for some in np.array_split(pictures, -(-len(pictures) // BATCH)):
        own = judges.judges.pictures(some)
        found.append((generator(own, own) - own).abs().mean(dim=(1, 2, 3)).cpu().numpy() * 127.5)
    return np.concatenate(found)


@torch.inference_mode()
def _features(generator: Disentangler, judges: TransferJudges, pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Both features of pictures, N,F each."""
    related, free = [], []
    for some in np.array_split(pictures, -(-len(pictures) // BATCH)):
        features = generator.features(judges.judges.pictures(some))
        related.append(features.related.float().cpu().numpy())
        free.append(F.adaptive_avg_pool2d(features.free.float(), CELLS).flatten(1).cpu().numpy())
    return {"related": np.concatenate(related), "free": np.concatenate(free)}


def ridge(inputs: np.ndarray, outputs: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Outputs M,T for `asked` M,F by ridge regression of outputs N,T on inputs N,F, which are standardised."""
    mean, spread = inputs.mean(0), inputs.std(0) + 1e-6
    x, start = (inputs - mean) / spread, outputs.mean(0)
    gram = x.T @ x / len(x)
    gram[np.diag_indices(len(gram))] += RIDGE * gram.trace() / len(gram)
    return (asked - mean) / spread @ np.linalg.solve(gram, x.T @ (outputs - start) / len(x)) + start
