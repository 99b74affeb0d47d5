"""Transfer: the expression of one picture's face on another's. One road for `visage transfer` and the endpoint."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from visage.editing import Edited, View, locate
from visage.faces import align as alignment
from visage.faces.picture import check_ending, read_picture, write_picture
from visage.faces.provenance import xmp_packet
from visage.models.disentangler import Features

if TYPE_CHECKING:
    from visage.registry.bundle import Bundle


class Transferer:
    """A bundle's networks, ready to answer. One for each thread."""

    def __init__(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> None:
        bundle.require("eft")
        self.device = torch.device(device)
        self._network = bundle.generator().to(self.device, memory_format=torch.channels_last)
        self.size: int = self._network.size
        self.expressions: tuple[str, ...] = bundle.card.expressions
        self._encoder = bundle.self_check()[0].to(self.device) if self_check else None

    @torch.inference_mode()
    def run(
        self, faces: np.ndarray, source: Sequence[int], driver: Sequence[int], check: Sequence[bool] | None = None
    ) -> Edited:
        """One forward pass. faces: uint8 M,S,S,3. Output n is face source[n] with the expression of face driver[n];
        where check[n] is set its identity's likeness comes with it (default: nowhere). No face is encoded twice.
        """
        network, inputs = self._network, torch.from_numpy(faces).to(self.device).permute(0, 3, 1, 2)
        inputs = inputs.float().div_(127.5).sub_(1)
        (sources, of), (drivers, by) = (np.unique(np.asarray(part), return_inverse=True) for part in (source, driver))
        free, related = network.free(inputs[sources]), network.related(inputs[drivers])
        outputs = network.compose(Features(related[by], free[of]), inputs[sources[of]])
        pixels = outputs.add(1).mul(127.5).add_(0.5).clamp_(0, 255).to(torch.uint8)
        similarity, confidence = np.full((2, len(of)), np.nan, np.float32)
        wanted = [n for n in range(len(of)) if check is not None and check[n]]
        if wanted and self._encoder is not None:
            vectors = self._encoder(torch.cat([inputs[sources], outputs[wanted]]))
            likeness = vectors[len(sources) :] * vectors[of[wanted]]
            similarity[wanted] = likeness.sum(1).float().cpu().numpy()
        return Edited(pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy(), similarity, confidence)

    def warm_up(self, count: int) -> None:
        """One pass of `count` faces."""
        faces = np.full((count, self.size, self.size, 3), 127, np.uint8)
        self.run(faces, range(count), range(count), [True] * count)


def transfer(
    photo: Path, drivers: Sequence[Path], outs: Sequence[Path], bundle: "Bundle", *, view: View = "photo",
    aligned: bool = False,
) -> None:  # fmt: skip
    """Write the picture at `photo` with the expression of each driver's face to the file of the same place in `outs`.

    One face in every picture; view, aligned and endings as for `edit`. Raises UserError, naming the picture, for one
    without a face or with several, and for a bundle of another method.
    """
    for out in outs:
        check_ending(out)
    transferer = Transferer(bundle)
    detector = None if aligned else alignment.Detector()
    source, *driving = (locate(read_picture(one), transferer.size, detector, str(one)) for one in (photo, *drivers))
    faces = np.stack([one.face for one in (source, *driving)])
    results = transferer.run(faces, [0] * len(driving), range(1, len(faces))).faces
    facts = bundle.facts
    xmp = xmp_packet(facts.name, facts.version, facts.run_id, view)
    for out, face in zip(outs, results, strict=True):
        write_picture(out, source.view(face, view), xmp=xmp)
