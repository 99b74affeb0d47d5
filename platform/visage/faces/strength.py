"""(extension) How strongly each photographed face shows its expression, measured on the faces themselves.

One person's posed smile is another's half smile. Told to be the same, both are learnt as their middle, in which no
mouth opens; told how strong each is, the strong ones are learnt as strong, teeth and all.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visage.faces.align import inner_face_mask
from visage.faces.faceset import FaceSet
from visage.faces.sampling import by_person, of_sitting

SIDE = 24  # px that a face is looked at with: coarse, so that it says how far things moved and not which skin it is
FULL = 85  # percentile of the faces of an expression from which it counts as full
LEAST, MOST = 0.2, 1.3  # a face below it may be of another kind; one above it stands alone
NEUTRAL = "neutral"


def strengths(faces: FaceSet, members: NDArray[np.integer]) -> NDArray[np.float32]:
    """How far each face goes on the mean way from its person's neutral face to its expression: N, LEAST to MOST.

    Of the pictures `members` alone, mostly the training people's; 1 is what the 85th in a hundred of them shows. 1 too
    for all that cannot be measured: other pictures, neutral faces, people without a neutral face.
    """
    found = np.ones(len(faces.identity), np.float32)
    if NEUTRAL not in faces.expressions:
        return found
    neutral, mask = faces.expressions.index(NEUTRAL), inner_face_mask(SIDE)
    weight = mask[..., None] / mask.sum() / 3  # of a pixel's three colours, in all 1
    people = by_person(faces.identity, faces.expression, members).values()
    at_rest = {picture: _seen(faces.faces[picture], weight) for own in people for picture in own.get(neutral, [])}
    for kind in range(len(faces.expressions)):
        pairs = [
            (picture, of_sitting(own[neutral], number))
            for own in people
            if kind != neutral and neutral in own
            for number, picture in enumerate(own.get(kind, []))
        ]
        if len(pairs) < 2:
            continue
        pairs.sort()
        change = np.stack([_seen(faces.faces[shown], weight) - at_rest[rest] for shown, rest in pairs])
        far = change @ change.mean(0)
        full = np.percentile(far, FULL)
        if full > 0:
            found[[shown for shown, _ in pairs]] = np.clip(far / full, LEAST, MOST)
    return found


def _seen(face: NDArray[np.uint8], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The face under weights SIDE,SIDE,1, small, of one brightness and contrast: numbers in a row."""
    small = np.asarray(Image.fromarray(np.asarray(face)).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    middle = (small * weight).sum()
    spread = np.sqrt(((small - middle) ** 2 * weight).sum())
    return ((small - middle) / max(spread, 1.0) * np.sqrt(weight)).ravel()
