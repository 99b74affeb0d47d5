"""The networks of a bundle that takes expressions by name, ready to answer."""

import copy
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from visage.methods.base import Edited, Editor
from visage.methods.requests import EXPRESSION
from visage.models.condition import conditions, mixtures
from visage.models.pixels import as_input, as_pixels
from visage.models.precision import uses_bfloat16

if TYPE_CHECKING:
    from visage.registry.bundle import Bundle

logger = logging.getLogger(__name__)


class ExpressionEditor(Editor):
    """As `base.Editor`.

    On CUDA and on CPUs that compute in it the generator runs in bfloat16, unless its faces then differ by more than a
    level of 255 on average.
    """

    request = EXPRESSION

    def __init__(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> None:
        self.device = torch.device(device)
        network = bundle.generator().to(self.device)
        self.size: int = network.size
        self.expressions: tuple[str, ...] = bundle.card.expressions
        self._network, self._format = self._fastest(network)
        networks = (*bundle.self_check()[:2], bundle.natural()) if self_check else (None, None, None)
        self._encoder, self._classifier, self._natural = (network and network.to(self.device) for network in networks)

    @torch.inference_mode()
    def run(
        self, faces: np.ndarray, source: Sequence[int], expression: Sequence[int], intensity: Sequence[float],
        check: Sequence[bool] | None = None, mixed: np.ndarray | None = None,
    ) -> Edited:  # fmt: skip
        """One forward pass. faces: uint8 M,S,S,3. Output n shows face source[n] with expression[n] at intensity[n];
        where check[n] is set its self-check values come with it (default: nowhere). mixed: float32 N,K, in place of
        those how much of each of the K expressions, where it is not NaN; the check's confidence is NaN there.
        """
        inputs = as_input(torch.tensor(faces, device=self.device).permute(0, 3, 1, 2))
        index = torch.as_tensor(source, device=self.device)
        target = torch.as_tensor(expression, device=self.device)
        condition = conditions(self.expressions, target, torch.as_tensor(intensity))
        several = np.zeros(len(source), bool) if mixed is None else ~np.isnan(mixed).any(axis=1)
        if mixed is not None:
            condition[several] = mixtures(self.expressions, torch.as_tensor(mixed[several], device=self.device))
        outputs = self._forward(self._network, self._format, inputs[index], condition)
        pixels = as_pixels(outputs)
        similarity, confidence, natural = np.full((3, len(source)), np.nan, np.float32)
        wanted = [n for n in range(len(source)) if check is not None and check[n]]
        if wanted and self._encoder is not None and self._classifier is not None:
            chosen = torch.as_tensor(wanted, device=self.device)
            results = outputs[chosen]
            vectors = self._encoder(torch.cat([inputs, results]))
            pairs = vectors[len(inputs) :] * vectors[index[chosen]]
            similarity[wanted] = pairs.sum(1).float().cpu().numpy()
            probabilities = self._classifier(results).float().cpu().numpy()
            confidence[wanted] = probabilities[range(len(wanted)), [expression[n] for n in wanted]]
            confidence[several] = np.nan
            if self._natural is not None:
                natural[wanted] = self._natural(results).cpu().numpy()
        return Edited(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), similarity, confidence, natural)

    def warm_up(self, count: int) -> None:
        faces = np.full((count, self.size, self.size, 3), 127, np.uint8)
        self.run(faces, range(count), [0] * count, [1.0] * count, [True] * count)

    def _fastest(self, network: Any) -> tuple[Any, torch.dtype]:
        """The network in its fastest number format that keeps its faces, and that format."""
        network = network.to(memory_format=torch.channels_last)
        if not uses_bfloat16(self.device):
            return network, torch.float32
        short = copy.deepcopy(network).to(torch.bfloat16)
        count = len(self.expressions)
        noise = torch.Generator().manual_seed(0)
        coarse = torch.rand(count, 3, 8, 8, generator=noise).mul_(2).sub_(1).to(self.device)
        faces = torch.nn.functional.interpolate(coarse, (self.size, self.size), mode="bilinear")
        condition = torch.eye(count, device=self.device)
        with torch.inference_mode():
            exact = self._forward(network, torch.float32, faces, condition)
            near = self._forward(short, torch.bfloat16, faces, condition)
        levels = float((exact - near).abs().mean()) * 127.5
        if levels > 1:
            logger.warning("bfloat16 changes faces by %.1f levels on average; float32 is used.", levels)
            return network, torch.float32
        return short, torch.bfloat16

    @staticmethod
    def _forward(network: Any, number_format: torch.dtype, faces: Tensor, condition: Tensor) -> Tensor:
        faces = faces.to(number_format).contiguous(memory_format=torch.channels_last)
        return network(faces, condition.to(number_format)).float()
