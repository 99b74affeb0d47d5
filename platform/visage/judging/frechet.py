"""Fréchet distance between faces and real faces, in an embedding that works offline.

FID's embedding is an Inception network whose weights must be downloaded. This one is the trunk of MTCNN's O-Net,
trained on photographs of faces, on the inner face: its 128 channels averaged over the picture, turned to the principal
components of the real training faces, each of variance 1 there, and cut to so few that every covariance is well
conditioned. So the values of one face set can be compared with each other, and with nothing else: not with FID, and
not with those of another face set.
"""

from dataclasses import dataclass

import numpy as np

from visage.judging.metrics import Estimate, Numbers, People, bounds, resampled

COMPONENTS = 16
FACES_PER_COMPONENT = 4
RESAMPLINGS = 500


@dataclass(frozen=True)
class Realism:
    """What real faces of each expression look like in the embedding.

    mean: F. axes: F,D. references: expression to the mean D and the covariance D,D of its real training faces.
    """

    mean: Numbers
    axes: Numbers
    references: dict[int, tuple[Numbers, Numbers]]

    @classmethod
    def of(cls, features: np.ndarray, expression: np.ndarray) -> "Realism | None":
        """From the real training faces: features N,F and expressions N. None where they are too few to say."""
        features = np.asarray(features, np.float64)
        kinds, counts = np.unique(expression, return_counts=True)
        components = min(COMPONENTS, int(counts.min()) // FACES_PER_COMPONENT)
        if components < 2:
            return None
        mean = features.mean(0)
        _, spread, axes = np.linalg.svd(features - mean, full_matrices=False)
        components = min(components, int((spread > 1e-4 * spread[0]).sum()))
        whitened = axes[:components].T * (len(features) ** 0.5 / spread[:components])
        projected = (features - mean) @ whitened
        references = {
            int(kind): (projected[expression == kind].mean(0), np.cov(projected[expression == kind].T, ddof=1))
            for kind in kinds
        }
        return cls(mean, whitened, references)

    def distance(self, features: np.ndarray, target: np.ndarray, people: People, resamplings: int) -> Estimate | None:
        """The distance of faces to the real training faces of their target expression, the mean over the expressions.

        features: N,F. target, people: N. The 95 % interval is a bootstrap over people, at most 500 times; as a drawn
        sample repeats people and so lies further off than the faces themselves, the draws are moved by that bias.
        None where no expression has two faces.
        """
        projected = (np.asarray(features, np.float64) - self.mean) @ self.axes
        target = np.asarray(target)
        names, owner = np.unique(np.asarray(people), return_inverse=True)
        weights = resampled(len(names), min(resamplings, RESAMPLINGS))
        found = []
        for kind, (mean, covariance) in self.references.items():
            shown = target == kind
            if shown.sum() < 2:
                continue
            moments = _drawn_moments(projected[shown], owner[shown], weights)
            found.append(gaussian_distance(mean, covariance, *moments))
        if not found:
            return None
        table = np.array(found)
        table = table[:, ~np.isnan(table).all(axis=0)]  # but for draws in which no expression has two faces
        means = np.nanmean(table, axis=0)
        value, drawn = float(means[0]), means[1:]
        if not len(drawn):
            return Estimate(value, value, value)
        low, high = (float(end - drawn.mean() + value) for end in bounds(drawn, value))
        return Estimate(value, max(0.0, low), high)


def gaussian_distance(mean: Numbers, covariance: Numbers, means: Numbers, covariances: Numbers) -> Numbers:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of one normal distribution from each of R others.

    mean: D. covariance: D,D. means: R,D. covariances: R,D,D. Dowson and Landau, The Fréchet distance between
    multivariate normal distributions, 1982; as a score of pictures: Heusel et al., NeurIPS 2017. NaN where one is NaN.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    known = np.asarray(~np.isnan(covariances).any(axis=(1, 2)))
    # The square roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric, add up to tr (S1 S2)^(1/2).
    product = root @ np.where(known[:, None, None], covariances, 0) @ root
    overlap = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.transpose(0, 2, 1)) / 2), 0)).sum(1)
    apart = np.square(means - mean).sum(1)
    distance = apart + np.trace(covariance) + np.trace(covariances, axis1=1, axis2=2) - 2 * overlap
    return np.where(known, np.maximum(distance, 0), np.nan)


def _drawn_moments(x: Numbers, owner: np.ndarray, weights: Numbers) -> tuple[Numbers, Numbers]:
    """Means R,D and covariances R,D,D of faces x (N,D) when person k counts weights[:, k] times; NaN for under two."""
    people, size = weights.shape[1], x.shape[1]
    counts = np.bincount(owner, minlength=people).astype(float)
    sums, squares = np.zeros((people, size)), np.zeros((people, size, size))
    np.add.at(sums, owner, x)
    np.add.at(squares, owner, x[:, :, None] * x[:, None, :])
    number = weights @ counts
    number = np.where(number > 1, number, np.nan)
    means = weights @ sums / number[:, None]
    second = (weights @ squares.reshape(people, -1)).reshape(-1, size, size) / number[:, None, None]
    covariances = (second - means[:, :, None] * means[:, None, :]) * (number / (number - 1))[:, None, None]
    return means, covariances
