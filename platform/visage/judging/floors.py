"""Answers that need no network, made of the training people's faces: what a model must beat to be worth something."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from visage.faces.faceset import FaceSet
from visage.judging.judges import Judges
from visage.judging.pairs import Pairs
from visage.models.pixels import as_input
from visage.models.unet import face_window


def mean_faces(faces: FaceSet) -> Tensor:
    """The mean training face of each expression: K,3,S,S in [-1, 1]; grey where there is none."""
    train = faces.part("train")
    found = torch.zeros(len(faces.expressions), 3, faces.size, faces.size)
    for kind in np.unique(faces.expression[train]):
        shown = train[faces.expression[train] == kind]
        total = np.zeros(faces.faces.shape[1:])
        for picture in shown:
            total += faces.faces[picture]
        found[kind] = as_input(torch.from_numpy(total / len(shown))).permute(2, 0, 1)
    return found


def mean_changes(judges: Judges, asked: Pairs) -> Iterator[tuple[Pairs, Tensor]]:
    """Batch by batch: some of the pairs, and for each the input with what training faces change by on average.

    x + window * (mean training face of the target - mean training face of the input's own expression), in [-1, 1].
    The input as it is where no training face shows one of the two.
    """
    faces = judges.faces
    mean = mean_faces(faces).to(judges.device)
    window = face_window(faces.size).to(judges.device)
    shown = np.isin(np.arange(len(faces.expressions)), faces.expression[faces.part("train")])
    for some in asked.batches():
        own = faces.expression[some.input]
        known = torch.from_numpy(shown[own] & shown[some.target]).to(judges.device)
        change = (mean[some.target] - mean[own]) * known[:, None, None, None]
        yield some, (judges.pictures(some.input) + window * change).clamp(-1, 1)
