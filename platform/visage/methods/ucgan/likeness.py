"""Who is like whom: the embedding that the losses look through, and what it says of the training people."""

import numpy as np
import torch
from torch import nn

from visage.config.experiment import Judge
from visage.faces.checks import refuse_shards
from visage.faces.faceset import FaceSet
from visage.faces.sampling import Likeness
from visage.judging.networks.crossed import crossed_encoder, half_of
from visage.methods.ucgan.config import Loss
from visage.models.identity import CompactEncoder, CrossedEncoder, load_embedding
from visage.models.pixels import as_input

BATCH = 64


def loss_embedding(name: str, faces: FaceSet, judge: Judge, compact: CompactEncoder | None = None) -> nn.Module:
    """The frozen embedding that `loss.triplet.embedding` names, on the CPU. compact: the one of that name."""
    if name == "crossed":
        refuse_shards(faces, "loss.triplet.embedding = crossed", "compact")
        return crossed_encoder(faces, judge)
    return load_embedding(name, compact)


@torch.no_grad()
def likeness(loss: Loss, faces: FaceSet, judge: Judge) -> Likeness | None:
    """What the loss's embedding says of the training people's faces; None where nobody asks."""
    if loss.hardest == 1 and loss.triplet.embedding != "crossed":
        return None
    if loss.hardest > 1:
        refuse_shards(faces, f"loss.hardest = {loss.hardest}", "1")
    embedding = loss_embedding(loss.triplet.embedding, faces, judge)
    crossed = isinstance(embedding, CrossedEncoder)
    learn = faces.part("train")
    half = half_of(faces) if crossed else np.zeros(len(faces.identity), int)
    found = []
    for members in np.array_split(learn, -(-len(learn) // BATCH)):
        pictures = as_input(torch.from_numpy(np.asarray(faces.faces[members])).permute(0, 3, 1, 2))
        told = (torch.from_numpy(half[members]),) if crossed else ()
        found.append(embedding(pictures, *told).numpy())
    vectors = np.concatenate(found)
    spread = np.zeros((len(faces.identity), vectors.shape[1]), vectors.dtype)
    spread[learn] = vectors
    return Likeness(half, spread, loss.hardest)
