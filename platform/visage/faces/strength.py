"""(extension) How strongly each photographed face shows its expression, measured on the faces themselves.

One person's posed smile is another's half smile. Told to be the same, both are learnt as their middle, in which no
mouth opens; told how strong each is, the strong ones are learnt as strong, teeth and all.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visage.faces.align import inner_face_mask
from visage.faces.faceset import FaceSet

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
    neutral = faces.expressions.index(NEUTRAL)
    at_rest: dict[str, list[int]] = {}
    for picture in members[faces.expression[members] == neutral]:
        at_rest.setdefault(str(faces.identity[picture]), []).append(int(picture))
    for kind in range(len(faces.expressions)):
        count: dict[str, int] = {}
        pairs = []
        for picture in members[(faces.expression[members] == kind) & (kind != neutral)]:
            person = str(faces.identity[picture])
            nth = count[person] = count.get(person, -1) + 1
            if person in at_rest:  # of the same sitting, as in `sampling.Tuples`
                pairs.append((int(picture), at_rest[person][min(nth, len(at_rest[person]) - 1)]))
        if len(pairs) < 2:
            continue
        change = np.stack([_seen(faces.faces[shown]) - _seen(faces.faces[rest]) for shown, rest in pairs])
        mean = change.mean(0)
        far = change @ mean
        full = np.percentile(far, FULL)
        if full > 0:
            found[[shown for shown, _ in pairs]] = np.clip(far / full, LEAST, MOST)
    return found


def _seen(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The inner face, small, of one brightness and contrast: numbers in a row."""
    small = np.asarray(Image.fromarray(np.asarray(face)).resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    weight = inner_face_mask(SIDE)[..., None] / inner_face_mask(SIDE).sum() / 3
    middle = (small * weight).sum()
    spread = np.sqrt(((small - middle) ** 2 * weight).sum())
    return ((small - middle) / max(spread, 1.0) * np.sqrt(weight)).ravel()
