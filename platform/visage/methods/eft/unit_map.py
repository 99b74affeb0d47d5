"""Fits the map by which a trained transfer takes action units in place of a driver's face."""

import numpy as np
import torch

from visage.faces.action_units import ActionUnits, action_units, learning_faces
from visage.faces.faceset import FaceSet
from visage.judging.networks.fit import BATCH, real_inputs
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import UnitMap, unit_map_of

PICTURES = 4_096  # at most; the map has a few thousand numbers
RIDGE = 0.01  # of the mean variance: units that are always shown together share what they do


@torch.no_grad()
def fit_unit_map(generator: Disentangler, faces: FaceSet) -> UnitMap:
    """The map of a generator, in eval mode, without gradients, on its device; fitted to the training people's faces.

    It is a ridge regression of their AU-related features on the units that the generator itself reads from them, and
    not on the labels: what is asked for and what stays as it is read are then on one scale. The labels only say which
    units it knows: those that some training face shows clearly, and others do not. Where the feature is the units
    themselves, that is all there is to find.
    """
    device = next(generator.parameters()).device
    learn = learning_faces(faces)
    labels = action_units(faces)
    known = ActionUnits(labels.values[learn], labels.source).known
    found = unit_map_of(generator).to(device)
    found.known.copy_(torch.from_numpy(known))
    if generator.basis is not None:
        return found.eval().requires_grad_(False)
    chosen = learn[np.unique(np.linspace(0, len(learn) - 1, min(PICTURES, len(learn))).astype(int))]
    batches = np.array_split(chosen, -(-len(chosen) // BATCH))
    related = torch.cat([generator.related(real_inputs(faces, some, device)).float() for some in batches])
    read = generator.intensities(related)[:, found.known]
    middle, start = read.mean(0), related.mean(0)
    x = read - middle
    gram = x.T @ x / len(x)
    gram += (RIDGE * gram.trace() / max(1, len(gram))).clamp_min(1e-8) * torch.eye(len(gram), device=device)
    weights = torch.linalg.solve(gram, x.T @ (related - start) / len(x))
    found.out.weight.zero_()
    found.out.weight[:, found.known] = weights.T
    found.out.bias.copy_(start - middle @ weights)
    return found.eval().requires_grad_(False)
