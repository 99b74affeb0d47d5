"""The loss's embedding fitted crosswise: each half of the training people is seen by what the other half taught."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from visage.config.experiment import Judge
from visage.errors import UserError
from visage.faces.align import inner_face_mask
from visage.faces.faceset import FaceSet
from visage.faces.split import halves
from visage.infra.files import locked, write_whole
from visage.judging.networks.fit import seeded
from visage.judging.networks.linear import PICTURES, dimensions_for, fit_identity
from visage.judging.networks.train import ENCODER_SEED, LOCK, SEEDS, resized
from visage.models.identity import CompactEncoder, CrossedEncoder, RTrunk

FILE = "crossed.safetensors"


def half_of(faces: FaceSet) -> np.ndarray:
    """Of each picture the half that its person is in, of the training people's two; 0 for others."""
    dealt = halves(faces.identity[faces.part("train")].tolist())
    return np.array([dealt.get(name, 0) for name in faces.identity.tolist()])


def crossed_encoder(faces: FaceSet, judge: Judge) -> CrossedEncoder:
    """That of the face set, whose judges are there already; fitted in seconds and stored beside them when first asked
    for, as few runs ask. Raises UserError for too few people, or where it cannot be stored."""
    path, seed = faces.dir / "networks" / FILE, judge.seed * SEEDS + ENCODER_SEED
    try:
        # A run that fits it and one that finds it draw the same afterwards.
        with seeded(seed), locked(faces.dir / LOCK):
            found = _stored(path)
            if not found:
                found = fit_crossed(faces, judge)
                write_whole(path, save(found.state_dict()))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be stored ({error.strerror or error}); make room there or make it writable."
        ) from None
    return found.eval().requires_grad_(False)


def fit_crossed(faces: FaceSet, judge: Judge) -> CrossedEncoder:
    """Fit it to the training people, as the compact encoder is, with half of the pictures for each half."""
    learn, half = faces.part("train"), half_of(faces)
    seen = [learn[half[learn] != own] for own in (0, 1)]
    known = [np.unique(faces.identity[members]) for members in seen]
    if (fewest := min(map(len, known))) < 2:
        raise UserError(
            f"loss.triplet.embedding = crossed: {faces.dir} has {fewest} training people in one of its halves, and an "
            "embedding takes two; add people, or use compact."
        )
    mask = torch.from_numpy(inner_face_mask(CompactEncoder.SIDE))
    pictures, seed = min(judge.images, PICTURES) // 2, judge.seed * SEEDS + ENCODER_SEED
    first, second = (CompactEncoder(mask.clone(), dimensions_for(fewest)) for _ in seen)
    for encoder, members, people in zip((first, second), seen, known, strict=True):
        encoder.trunk = RTrunk.pretrained()
        who = torch.from_numpy(np.searchsorted(people, faces.identity[members]))
        fit_identity(encoder, resized(faces, members), who, pictures, seed)
    return CrossedEncoder((first, second))


def _stored(path: Path) -> CrossedEncoder | None:
    """That of the file; None where it is absent or damaged."""
    try:
        state = load_file(path)
        dimensions = len(state["encoders.0.head.bias"])
        found = CrossedEncoder((CompactEncoder(dimensions=dimensions), CompactEncoder(dimensions=dimensions)))
        found.load_state_dict(state)
    except (FileNotFoundError, SafetensorError, KeyError, RuntimeError):
        return None
    return found
