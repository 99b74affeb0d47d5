"""What the transfer of expressions is trained against: a critic of faces, and readers of AU-free features."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.models.layers import ConvNorm, Norm

CELLS = 4  # a side: the feature is pooled to so many, as by the leak probe of `eft.judging.probes`
RIDGE = 0.1
HALF_LIFE = 1_000  # of the moments, in pictures
LEAST = 0.01  # a variance of intensities that a unit does not fall below


class Critic(nn.Module):
    """Judges faces patch by patch, and reads the class of action units from AU-free features.

    The two questions about a face share their convolutions. classes: number K.
    """

    def __init__(self, width: int, channels: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.downs = nn.Sequential(ConvNorm(width, 2 * width), ConvNorm(2 * width, 4 * width))
        self.last, self.norm = nn.Conv2d(4 * width, 8 * width, 3, padding=1), Norm(8 * width)
        self.out = nn.Conv2d(8 * width, 2, 3, padding=1)
        self.feature = nn.Sequential(ConvNorm(channels, 4 * width), ConvNorm(4 * width, 8 * width))
        self.head = nn.Linear(8 * width, classes)

    def forward(self, faces: Tensor, free: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """faces: N,3,S,S in [-1, 1]; free: M,C,S/4,S/4. Returns two of N,1,S/8,S/8 logits, is the face real, and is its
        expression its own; and M,K of the features' classes. All float32."""
        x = self.downs(F.leaky_relu(self.first(faces), 0.2))
        realism, swap = self.out(self.norm(self.last(x))).float().chunk(2, dim=1)
        return realism, swap, self.head(self.feature(free).mean(dim=(2, 3))).float()


class FeatureProbe(nn.Module):
    """Two readers of T intensities from AU-free features N,C,S/4,S/4 while these are learnt, so that they come to hold
    none.

    One is linear, a ridge regression in closed form of moments that are kept over the last pictures, so that it is
    never behind the encoder; the other is convolutions, trained beside it.
    """

    def __init__(self, width: int, channels: int, units: int) -> None:
        super().__init__()
        numbers = channels * CELLS**2
        self.downs = nn.Sequential(ConvNorm(channels, 4 * width), ConvNorm(4 * width, 8 * width))
        self.head = nn.Linear(8 * width, units)
        self.numbers = numbers
        self.moments: Tensor
        # Of features and intensities together: first means, then means of products; last, how much of it is known.
        self.register_buffer("moments", torch.zeros(1 + numbers + units, 1 + numbers + units))

    def forward(self, free: Tensor) -> Tensor:
        """What the convolutions read: N,T, float32."""
        return self.head(self.downs(free).mean(dim=(2, 3))).float()

    @torch.no_grad()
    def learn(self, free: Tensor, units: Tensor) -> None:
        """Take N pictures into the moments. units: N,T in 0..1, NaN where one is not known."""
        pooled = F.adaptive_avg_pool2d(free.float(), CELLS).flatten(1)
        known = torch.where(units.isnan(), self.means()[self.numbers :], units)
        joint = torch.cat([torch.ones_like(pooled[:, :1]), pooled, known], dim=1)
        share = 0.5 ** (len(free) / HALF_LIFE)
        self.moments.mul_(share).add_(joint.T @ joint / len(free), alpha=1 - share)

    def means(self) -> Tensor:
        """Of features and intensities."""
        return self.moments[0, 1:] / self.moments[0, 0].clamp_min(1e-6)

    def variances(self) -> Tensor:
        """Of the T intensities."""
        whole = self.moments.diagonal()[1:] / self.moments[0, 0].clamp_min(1e-6)
        return (whole - self.means().square())[self.numbers :].clamp_min(LEAST)

    def linear(self, free: Tensor) -> Tensor:
        """What the ridge regression reads, less the mean: N,T. Gradients reach the features."""
        with torch.autocast(free.device.type, enabled=False):
            middle, count = self.means(), self.moments[0, 0].clamp_min(1e-6)
            spread = self.moments[1:, 1:] / count - torch.outer(middle, middle)
            scale = spread.diagonal()[: self.numbers].clamp_min(1e-6).sqrt()
            gram = spread[: self.numbers, : self.numbers] / torch.outer(scale, scale)
            gram = gram + RIDGE * torch.eye(self.numbers, device=gram.device)
            weights = torch.linalg.solve(gram, spread[: self.numbers, self.numbers :] / scale[:, None])
            pooled = F.adaptive_avg_pool2d(free.float(), CELLS).flatten(1)
            return (pooled - middle[: self.numbers]) / scale @ weights
