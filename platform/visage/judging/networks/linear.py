"""Linear maps of fixed convolutions, fitted in closed form or to the optimum: no schedule, and little to go wrong."""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.judging.networks.augment import augment
from visage.judging.networks.fit import seeded
from visage.models.identity import InnerFaceEmbedding
from visage.models.judges import ExpressionJudge, UnitJudge
from visage.models.pixels import as_input
from visage.models.reader import ExpressionReader

# Pictures that a fit sees at most: each face as it is, then augmented copies.
PICTURES = 4_096
COMPONENTS = 256
DIMENSIONS = 64
SHRINKAGE = 0.03  # of the covariance within people towards a sphere
RIDGE = 0.01  # on the weights of whitened features that read action units
PENALTY = 0.0001  # on the squared weights of whitened features
BATCH = 64
Embedding = TypeVar("Embedding", bound=InnerFaceEmbedding)
Reading = TypeVar("Reading", ExpressionJudge, ExpressionReader)


@torch.no_grad()
def fit_identity(embedding: Embedding, faces: Tensor, people: Tensor, pictures: int, seed: int) -> Embedding:
    """Set the head by linear discriminant analysis of the training people; returns the embedding, in eval mode.

    faces: uint8 N,3,S,S. people: N, whose face it is, 0 to P - 1. The head keeps the directions in which people differ
    more than the pictures of one person do, light, place, expression and blur of augmented pictures among them.
    """
    features, chosen = _features(embedding.to(faces.device).features, faces, pictures, seed, erase=True)
    label = people.to(features.device)[chosen]
    mean, whiten = _whitening(features, seed)
    x = (features - mean) @ whiten
    count = torch.bincount(label)
    centres = torch.zeros(len(count), x.shape[1], device=x.device).index_add_(0, label, x) / count[:, None]
    within = (x - centres[label]).T @ (x - centres[label]) / len(x)
    sphere = torch.eye(len(within), device=x.device) * within.trace() / len(within)
    spread, axes = torch.linalg.eigh(torch.lerp(within, sphere, SHRINKAGE))
    sphered = axes * spread.clamp_min(1e-8).rsqrt()
    between, directions = torch.linalg.eigh(sphered.T @ (centres.T @ centres / len(centres)) @ sphered)
    order = between.argsort(descending=True)[: embedding.dimensions]
    trust = between[order] / (1 + between[order])  # a direction counts by how surely it tells people apart
    _set_head(embedding.head, whiten @ sphered @ directions[:, order] * trust, mean)
    return embedding.eval()


def dimensions_for(people: int) -> int:
    """How many directions can tell so many people apart."""
    return min(DIMENSIONS, people - 1)


def fit_expression_judge(judge: Reading, faces: Tensor, expression: Tensor, pictures: int, seed: int) -> Reading:
    """Set the head by logistic regression, every expression counting the same; returns the judge, in eval mode.

    faces: uint8 N,3,S,S. expression: N, 0 to K - 1.
    """
    features, chosen = _features(judge.to(faces.device).features, faces, pictures, seed, erase=False)
    label = expression.to(features.device)[chosen]
    mean, whiten = _whitening(features, seed)
    # Whitened columns have variance 1; without this, rare directions would count as much as common ones.
    strength = whiten.norm(dim=0).reciprocal()
    scale = whiten * strength / strength.max()
    x = (features - mean) @ scale
    kinds = judge.head.out_features
    rarity = len(label) / (kinds * torch.bincount(label, minlength=kinds).clamp_min(1)).float()
    weight = torch.zeros(x.shape[1], kinds, device=x.device, requires_grad=True)
    bias = torch.zeros(kinds, device=x.device, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, label, rarity) + PENALTY / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        _set_head(judge.head, scale @ weight, mean)
        judge.head.bias.add_(bias)
    return judge.eval()


@torch.no_grad()
def fit_unit_judge(judge: UnitJudge, faces: Tensor, values: Tensor, pictures: int, seed: int) -> UnitJudge:
    """Set the judge's head by ridge regression; returns it, in eval mode.

    faces: uint8 N,3,S,S. values: N,T, what is to be read, NaN where it is not known.
    """
    features, chosen = _features(judge.to(faces.device).features, faces, pictures, seed, erase=False, mirror=False)
    mean, whiten = _whitening(features, seed)
    x, wanted = (features - mean) @ whiten, values.to(features.device)[chosen].float()
    weights = torch.zeros(x.shape[1], wanted.shape[1], device=x.device)
    start = torch.zeros(wanted.shape[1], device=x.device)
    for column in range(wanted.shape[1]):
        known = ~wanted[:, column].isnan()
        if not known.any():
            continue
        inputs, output = x[known], wanted[known, column]
        start[column] = output.mean()
        gram = inputs.T @ inputs / len(inputs) + RIDGE * torch.eye(x.shape[1], device=x.device)
        weights[:, column] = torch.linalg.solve(gram, inputs.T @ (output - output.mean()) / len(inputs))
    _set_head(judge.head, whiten @ weights, mean)
    judge.head.bias.add_(start)
    return judge.eval()


@torch.no_grad()
def _features(
    features: Callable[[Tensor], Tensor], faces: Tensor, pictures: int, seed: int, *, erase: bool, mirror: bool = True
) -> tuple[Tensor, Tensor]:
    """The features of every face as it is, then of augmented copies, as many of each face as of another; and the index
    of the face that each is of."""
    copies = max(1, min(pictures, PICTURES) // len(faces))
    chosen = torch.arange(len(faces), device=faces.device).repeat(copies)
    random = torch.Generator(faces.device).manual_seed(seed)
    plain, changed = chosen[: len(faces)], chosen[len(faces) :]
    parts = [features(as_input(faces[batch])) for batch in plain.split(BATCH)]
    if len(changed):
        parts += [
            features(augment(as_input(faces[b]), random, erase=erase, mirror=mirror)) for b in changed.split(BATCH)
        ]
    return torch.cat(parts).float(), chosen


def _whitening(features: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Mean F, and F,Q: the map to the Q principal components, each of variance 1."""
    mean = features.mean(0)
    with seeded(seed):  # the decomposition starts from random directions
        wanted = min(COMPONENTS, len(features) - 1)
        _, spread, axes = torch.pca_lowrank(features - mean, q=wanted, center=False, niter=2)
    kept = spread > 1e-4 * spread[0]
    return mean, axes[:, kept] * (len(features) ** 0.5 / spread[kept])


def _set_head(head: nn.Linear, matrix: Tensor, mean: Tensor) -> None:
    head.weight.copy_(matrix.T)
    head.bias.copy_(-mean @ matrix)
