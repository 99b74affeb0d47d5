"""Blocks that the networks share. None keeps batch statistics, so batches and workers do not matter."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SLOPE = 0.2  # of the leaky ReLU, as in pix2pix
DARK = 1e-3  # a variance of grey, in faces of -1..1, that a picture of one grey does not fall below


def group_norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """GroupNorm in groups of 8 channels: statistics of one picture alone."""
    return nn.GroupNorm(max(1, channels // 8), channels, affine=affine)


def normed(norm: nn.Module, x: Tensor) -> Tensor:
    """`norm` in the number format of x: CUDA's autocast would take float32, and twice the traffic to memory for it."""
    if x.is_cuda and torch.is_autocast_enabled("cuda"):
        with torch.autocast("cuda", enabled=False):
            return norm(x)
    return norm(x)


class ConditionedNorm(nn.Module):
    """GroupNorm whose scale and shift are linear in an embedding of the condition, then a leaky ReLU.

    A condition that is added to the picture as a constant plane is removed by the next normalisation; one that
    sets the normalisation itself cannot be.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.affine = nn.Linear(embedding, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x: N,C,H,W; embedding: N,E."""
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
        if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return NormWithGradient.apply(x, 1 + scale, shift, self.norm.num_groups, self.norm.eps)
        return F.leaky_relu(torch.addcmul(shift, normed(self.norm, x), 1 + scale), SLOPE)


class Norm(nn.Module):
    """`ConditionedNorm` with one learnt scale and shift for all pictures."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.scale, self.shift = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: N,C,H,W."""
        if x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            scale, shift = (value.expand(len(x), -1, -1, -1) for value in (self.scale, self.shift))
            return NormWithGradient.apply(x, scale, shift, self.norm.num_groups, self.norm.eps)
        made = normed(self.norm, x)
        scale, shift = (value.to(made.dtype) if x.is_cuda else value for value in (self.scale, self.shift))
        return F.leaky_relu(torch.addcmul(shift, made, scale), SLOPE)


class ConvNorm(nn.Module):
    """Convolution, `Norm`; a kernel of 4 halves the sides, one of 3 keeps them."""

    def __init__(self, channels: int, out: int, kernel: int = 4) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, out, kernel, stride=kernel - 2, padding=1), Norm(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def centred_grey(faces: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Faces N,3,S,S in [-1, 1] in grey, their mean within the window 1,S,S at 0: N,1,S,S; and their deviation there,
    N,1,1,1, by which they are of one contrast. Colour and light say who and where a face is, and nothing of action
    units."""
    grey, weight = faces.mean(1, keepdim=True), window / window.sum()
    centred = grey - (grey * weight).sum((2, 3), keepdim=True)
    spread = (centred.square() * weight).sum((2, 3), keepdim=True)
    return centred, (spread + DARK).sqrt()


class NormWithGradient(torch.autograd.Function):
    """leaky_relu(shift + scale * group_norm(x)), with its gradient in few passes over the picture.

    torch's own gradient of group_norm takes three times as long as this on a CPU where the memory order is
    channels_last, in which convolutions are fastest. Forward it is the same operations as without it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, groups: int, eps: float) -> Tensor:
        """x: N,C,H,W; scale, shift: N,C,1,1."""
        count, channels, height, width = x.shape
        normed, _, deviation = torch.native_group_norm(x, None, None, count, channels, height * width, groups, eps)
        made = F.leaky_relu_(torch.addcmul(shift, normed, scale), SLOPE)
        ctx.save_for_backward(normed, made, scale, deviation)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """With z the normed picture, r one over the deviation and d the gradient of scale * z, means over a group:

        dx = r (d - mean(d) - z mean(d z)). The sums over the pixels of a channel serve scale and shift too.
        """
        normed, made, scale, deviation = ctx.saved_tensors  # deviation: N,groups, one over the standard deviation
        _, channels, height, width = normed.shape
        gradient = torch.ops.aten.leaky_relu_backward(gradient, made, SLOPE, True)
        sums = torch.stack([gradient.sum((2, 3)), (gradient * normed).sum((2, 3))])  # 2,N,C
        if not ctx.needs_input_grad[0]:
            return None, sums[1, :, :, None, None], sums[0, :, :, None, None], None, None
        size = channels // deviation.shape[1]
        inverse = deviation.float().repeat_interleave(size, dim=1)
        groups = (sums.float() * scale[:, :, 0, 0].float()).unflatten(2, (-1, size)).mean(3) / (height * width)
        mean, product = (groups.repeat_interleave(size, dim=2) * inverse).to(normed.dtype)[..., None, None]
        factor = (scale[:, :, 0, 0].float() * inverse).to(normed.dtype)[:, :, None, None]
        dx = torch.addcmul(-mean, gradient, factor).addcmul_(normed, product, value=-1)
        return dx, sums[1, :, :, None, None], sums[0, :, :, None, None], None, None


class ConditionEmbedding(nn.Linear):
    """The condition (N,K) as an embedding (N,E) that the conditioned norms read.

    Linear, so that a condition between two others gives a face between theirs: see `models.condition`.
    """

    def __init__(self, conditions: int, embedding: int = 64) -> None:
        super().__init__(conditions, embedding, bias=False)
        # A one-hot condition has one input that is not zero. With the usual start, made for many, all conditions look
        # alike, and a generator learns the faces first and the expressions late.
        nn.init.normal_(self.weight)
