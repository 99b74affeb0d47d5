"""The answer without a network to a transfer: what each action unit changes on average, told the labels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from visage.faces.faceset import FaceSet
from visage.judging.pairs import Pairings
from visage.methods.eft.judging.judges import TransferJudges
from visage.models.unet import face_window


def unit_changes(faces: FaceSet, units: np.ndarray) -> Tensor:
    """What one action unit changes on a face on average: U,3,S,S in picture units, of faces in [-1, 1].

    units: N,U, labels of the set's faces. Least squares over the training people, each against the mean of their own
    pictures, or of everybody's where all have one. Units that always come together share what they do.
    """
    train = faces.part("train")
    people = faces.identity[train]
    names, counts = np.unique(people, return_counts=True)
    groups = [train[people == name] for name in names] if counts.max() > 1 else [train]
    gram = np.zeros((units.shape[1],) * 2)
    shared = np.zeros((units.shape[1], int(np.prod(faces.faces.shape[1:]))))
    for own in groups:
        told = np.nan_to_num(units[own].astype(float))
        told -= told.mean(0)
        gram += told.T @ told
        shared += told.T @ faces.faces[own].reshape(len(own), -1)  # told sums to zero, so the mean face falls out
    change = np.linalg.pinv(gram, rcond=1e-6, hermitian=True) @ shared / 127.5
    found = torch.from_numpy(change.astype(np.float32)).view(-1, faces.size, faces.size, 3)
    return found.permute(0, 3, 1, 2).contiguous()


def by_regression(judges: TransferJudges) -> Callable[[Pairings], Tensor]:
    """Makes of pairs x + window * sum over units (driver's label - source's label) * what the unit changes."""
    faces, device = judges.faces, judges.device
    changes = unit_changes(faces, judges.labels.values).to(device)
    window = face_window(faces.size).to(device)

    def make(some: Pairings) -> Tensor:
        values = judges.labels.values
        moved = torch.from_numpy(np.nan_to_num(values[some.driver] - values[some.source])).to(device)
        change = torch.einsum("nu,uchw->nchw", moved.float(), changes)
        return (judges.judges.pictures(some.source) + window * change).clamp(-1, 1)

    return make
