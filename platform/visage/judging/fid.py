"""FID as others report it, where the weights of its Inception network can be had.

Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, NeurIPS 2017; with the
network of torch-fidelity.
"""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from visage.errors import UserError, one_line
from visage.judging.frechet import gaussian_distance
from visage.judging.judges import Generator, Judges
from visage.judging.metrics import Estimate
from visage.judging.pairs import BATCH, Pairs

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
FEATURE = "2048"  # the pooled features, as usual


def inception_distances(
    weights: Path, judges: Judges, generator: Generator | None, asked: Pairs
) -> dict[str, Estimate]:
    """FID of the rows `model` and `real`, all expressions together, to the real training faces.

    weights: a file of torch-fidelity's Inception weights. The figures have no interval (NaN): each draw of people would
    need a square root of a 2048 x 2048 matrix. Raises UserError when the file holds no such weights.
    """
    network = _network(weights).to(judges.device)
    faces = judges.faces
    mean, covariance = _moments(network, _real(judges, faces.part("train")))
    rows: dict[str, Iterator[Tensor]] = {"real": _real(judges, faces.part(judges.part))}
    if generator is not None:
        rows["model"] = (made for _, made in judges.generated(generator, asked))
    means, covariances = zip(*(_moments(network, pictures) for pictures in rows.values()), strict=True)
    distances = gaussian_distance(mean, covariance, np.stack(means), np.stack(covariances))
    return {name: Estimate(float(one), float("nan"), float("nan")) for name, one in zip(rows, distances, strict=True)}


def _network(weights: Path) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        # torch-fidelity runs whatever a pickle asks for; what this reader accepts asks for nothing.
        torch.load(weights, weights_only=True, map_location="cpu")
        network = FeatureExtractorInceptionV3("inception", [FEATURE], feature_extractor_weights_path=str(weights))
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"--inception {weights}: holds no Inception weights ({one_line(error)}); give torch-fidelity's {WEIGHTS}."
        ) from None
    return network.eval()


def _real(judges: Judges, members: np.ndarray) -> Iterator[Tensor]:
    for start in range(0, len(members), BATCH):
        yield judges.pictures(members[start : start + BATCH])


@torch.inference_mode()
def _moments(network: nn.Module, batches: Iterable[Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the features of faces N,3,S,S in [-1, 1]."""
    found = [network(((faces.float() + 1) * 127.5).round().clamp(0, 255).byte())[0].cpu() for faces in batches]
    features = torch.cat(found).double().numpy()
    return features.mean(0), np.cov(features.T)
