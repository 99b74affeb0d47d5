"""The networks of a bundle that takes a driver's expression, or action units, ready to answer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from visage.errors import UserError
from visage.faces.facs import AUS
from visage.methods.base import Edited, Editor
from visage.methods.eft import UNITS
from visage.methods.eft.networks.disentangler import Features
from visage.methods.requests import DRIVER
from visage.models.pixels import as_input, as_pixels

if TYPE_CHECKING:
    from visage.registry.bundle import Bundle


class TransferEditor(Editor):
    """As `base.Editor`; it can be told action units, too."""

    request = DRIVER

    def __init__(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self._network = bundle.generator().to(self.device, memory_format=torch.channels_last)
        self._name = bundle.facts.name
        self.size: int = self._network.size
        self.expressions: tuple[str, ...] = bundle.card.expressions
        self._encoder = bundle.self_check()[0].to(self.device) if self_check else None
        natural = bundle.natural() if self_check else None
        self._natural = natural and natural.to(self.device)
        unit_map: Any = bundle.extras().get(UNITS)
        self._unit_map = unit_map and unit_map.to(self.device)
        known = unit_map.known.tolist() if unit_map else []
        self.action_units: tuple[int, ...] = tuple(au for au, there in zip(AUS, known, strict=False) if there)

    def asked(self, units: Mapping[int, float]) -> np.ndarray:
        if not self.action_units:
            raise UserError(
                f"{self._name}: was made by an older Visage and cannot be told action units; train it again, or give a "
                "driver's picture."
            )
        found = np.full(len(AUS), np.nan, np.float32)
        for au, intensity in units.items():
            if au not in self.action_units:
                known = ", ".join(map(str, self.action_units))
                raise UserError(f"action unit {au}: the model does not know it; it knows {known}.")
            if not 0 <= intensity <= 1:
                raise UserError(f"action unit {au} = {intensity:g}: give an intensity from 0 to 1.")
            found[AUS.index(au)] = intensity
        return found

    @torch.inference_mode()
    def run(
        self, faces: np.ndarray, source: Sequence[int], driver: Sequence[int], check: Sequence[bool] | None = None,
        units: np.ndarray | None = None,
    ) -> Edited:  # fmt: skip
        """One forward pass. faces: uint8 M,S,S,3. Output n is face source[n] with the expression of face driver[n];
        where check[n] is set its self-check values come with it (default: nowhere). No face is encoded twice.

        units: float32 N,len(AUS), what `asked` gives; output n gets those on top of the driver's expression, which is
        the face's own where driver[n] is source[n]. A row of NaN asks for none.
        """
        network, inputs = self._network, as_input(torch.tensor(faces, device=self.device).permute(0, 3, 1, 2))
        (sources, of), (drivers, by) = (np.unique(np.asarray(part), return_inverse=True) for part in (source, driver))
        free, related = network.left(inputs[sources]), network.related(inputs[drivers])
        shown, read = related[by], network.intensities(related)[by]
        if units is not None and self._unit_map is not None:
            wanted = torch.from_numpy(units).to(self.device)
            told = self._unit_map(shown, read, wanted)
            shown = torch.where(wanted.isnan().all(1, keepdim=True), shown, told)
        outputs = network.compose(Features(shown, free[of]), inputs[sources[of]])
        pixels = as_pixels(outputs)
        similarity, confidence, natural = np.full((3, len(of)), np.nan, np.float32)
        checked = [n for n in range(len(of)) if check is not None and check[n]]
        if checked and self._encoder is not None:
            vectors = self._encoder(torch.cat([inputs[sources], outputs[checked]]))
            likeness = vectors[len(sources) :] * vectors[of[checked]]
            similarity[checked] = likeness.sum(1).float().cpu().numpy()
            if self._natural is not None:
                natural[checked] = self._natural(outputs[checked]).cpu().numpy()
        made = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return Edited(made, similarity, confidence, natural, read.cpu().numpy())

    def warm_up(self, count: int) -> None:
        faces = np.full((count, self.size, self.size, 3), 127, np.uint8)
        self.run(faces, range(count), range(count), [True] * count)
