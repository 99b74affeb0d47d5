"""A model judged, and drawn, as its method asks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from visage.config.experiment import Judge
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.evaluate import evaluate
from visage.judging.evaluate_transfer import evaluate_transfer
from visage.judging.judges import Generator
from visage.judging.report import faces_picture, transfer_picture
from visage.judging.results import Evaluation
from visage.judging.train import FaceNetworks
from visage.models.unit_map import UnitMap

PICTURES: dict[str, Callable[[Any, FaceSet, str], np.ndarray]] = {"ucgan": faces_picture, "eft": transfer_picture}


def judged(
    method: str,
    generator: Any,
    faces: FaceSet,
    networks: FaceNetworks,
    judge: Judge,
    *,
    device: str | torch.device = "cpu",
    inception: Path | None = None,
    beside: Generator | None = None,
    unit_map: UnitMap | None = None,
) -> Evaluation:
    """The evaluation of a method's generator on the test people; what is after `device` as of the methods' own."""
    if method == "eft":
        if inception:
            raise UserError("--inception: FID is not measured for transfers; leave it out.")
        return evaluate_transfer(generator, faces, networks, judge, device=device, beside=beside, unit_map=unit_map)
    if beside is not None:
        raise UserError("--beside: is for a model of method eft, which it stands beside; leave it out.")
    return evaluate(generator, faces, networks, bootstrap=judge.bootstrap, device=device, inception=inception)
