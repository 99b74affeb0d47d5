"""Number formats: where bfloat16 pays, and how a network runs in it."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn

Precision = Literal["auto", "float32", "bfloat16"]


def uses_bfloat16(device: torch.device, precision: Precision = "auto") -> bool:
    """Whether `precision` means bfloat16 on this device: `auto` says yes on CUDA and on CPUs that compute in it."""
    if precision != "auto":
        return precision == "bfloat16"
    computes = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return device.type == "cuda" or computes


def autocast(device: torch.device, precision: Precision = "auto") -> AbstractContextManager[None]:
    """A context in which convolutions and matrix products run in the chosen format; weights stay float32."""
    if uses_bfloat16(device, precision):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def in_precision(
    generator: nn.Module, device: torch.device, precision: Precision
) -> Callable[[Tensor, Tensor], Tensor]:
    """The generator on its two inputs, in a number format."""

    def generate(faces: Tensor, other: Tensor) -> Tensor:
        with autocast(device, precision):
            return generator(faces.to(device), other.to(device))

    return generate
