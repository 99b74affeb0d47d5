"""Sample faces for the endpoint's page: of the kind that a model learnt, and of nobody.

Each is the average of the faces of AVERAGED training people who look alike, aligned by their eyes. A model that learnt
photographs makes poor work of a drawn face, and nobody should find their own on a page.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.models.condition import NEUTRAL
from visage.registry.card import MEND

PEOPLE = 6
CANDIDATES = 12
AVERAGED = 5
SIDE = 16  # of the thumbnails by which people are alike
SEED = 0
Worth = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Samples:
    """neutral: uint8 PEOPLE,S,S,3. showing: uint8 K,S,S,3, one for each of the K expressions of the model."""

    neutral: np.ndarray
    showing: np.ndarray
    expressions: tuple[str, ...]

    def png(self, person: int, expression: str) -> bytes | None:
        """One of them as a PNG; of another expression than neutral the same for all people. None for one not there."""
        if expression == NEUTRAL:
            return self._files[person] if person < len(self.neutral) else None
        if expression not in self.expressions:
            return None
        return self._files[len(self.neutral) + self.expressions.index(expression)]

    @cached_property
    def _files(self) -> list[bytes]:
        from visage.faces.picture import encode_picture

        return [encode_picture(face) for face in (*self.neutral, *self.showing)]


def make_samples(faces: FaceSet, worth: Worth | None) -> Samples | None:
    """The samples of a face set; None where it has too few training people, or faces without an expression.

    worth: given candidates N,S,S,3 and faces that show each expression K,S,S,3, how good N are as samples; those of
    which it is highest are taken.
    """
    from PIL import Image
    from scipy.cluster.vq import kmeans2

    train = faces.part("train")
    rested = _first_of(faces, train, NEUTRAL)
    if len(rested) < PEOPLE * AVERAGED:
        return None
    names = sorted(rested)
    own = np.stack([np.asarray(faces.faces[rested[name]]) for name in names])
    small = np.stack([np.asarray(Image.fromarray(face).resize((SIDE, SIDE)), np.float64).ravel() for face in own])
    count = min(CANDIDATES, len(names) // AVERAGED)
    centres, _ = kmeans2(small, count, seed=SEED, minit="++")
    nearest = np.argsort(((small[None] - centres[:, None]) ** 2).sum(2), axis=1)
    candidates = np.stack([_average(own[order[:AVERAGED]]) for order in nearest])
    showing = []
    for kind, expression in enumerate(faces.expressions):
        shown = _first_of(faces, train, expression)
        alike = [shown[names[place]] for place in nearest[kind % count] if names[place] in shown][:AVERAGED]
        if len(alike) < AVERAGED:
            return None
        showing.append(_average(np.stack([np.asarray(faces.faces[picture]) for picture in alike])))
    good = np.argsort(-worth(candidates, np.stack(showing)), kind="stable") if worth else np.arange(count)
    return Samples(candidates[np.sort(good[:PEOPLE])], np.stack(showing), tuple(faces.expressions))


def _first_of(faces: FaceSet, members: np.ndarray, expression: str) -> dict[str, int]:
    """The first picture of each person who shows an expression, by name."""
    if expression not in faces.expressions:
        return {}
    shown = members[faces.expression[members] == faces.expressions.index(expression)]
    return {str(faces.identity[picture]): int(picture) for picture in shown[::-1]}


def _average(faces: np.ndarray) -> np.ndarray:
    return faces.mean(axis=0).round().astype(np.uint8)


def samples_file(samples: Samples) -> bytes:
    """As a safetensors file."""
    from safetensors.numpy import save

    return save({"neutral": samples.neutral, "showing": samples.showing})


def read_samples(path: Path, size: int, expressions: tuple[str, ...]) -> Samples:
    """Of a file that `samples_file` has written. Raises UserError for one that fits no such model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            neutral, showing = file.get_tensor("neutral"), file.get_tensor("showing")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: holds no sample faces ({error}); {MEND}.") from None
    shape = (size, size, 3)
    if neutral.dtype != np.uint8 or neutral.shape != (PEOPLE, *shape) or showing.shape != (len(expressions), *shape):
        raise UserError(f"{path}: its sample faces are not of {size} px; {MEND}.")
    return Samples(neutral, showing, expressions)
