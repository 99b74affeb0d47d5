"""Every test person of a face set with what a model makes of them: nobody is chosen, nobody left out.

    python benchmarks/faces.py BUNDLE --data FACE_SET --out benchmarks/NAME.webp [--across 3]

For each test person, from left to right: the input (the first neutral face, or the first), of a transfer the driver,
the model's face, the true face, and the training face that the identity judge finds nearest to the model's, so that a
copied one would show. The target goes from person to person through all expressions but the input's; the driver is the
next person who shows it, by the first such picture. The true answer of a transfer is drawn where the faces were; else
it is the person's own face of that expression.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from visage.faces.action_units import learning_faces
from visage.faces.faceset import FaceSet
from visage.judging.networks.fit import real_inputs
from visage.judging.networks.train import FaceNetworks, apply, resized, stored_networks
from visage.judging.pairs import Pairings
from visage.judging.sheet import Sheet
from visage.methods.eft.judging.drawn import drawn_exchanged
from visage.methods.eft.networks.disentangler import Disentangler
from visage.models.condition import NEUTRAL, conditions
from visage.models.generator import Network
from visage.models.pixels import as_pixels
from visage.registry.bundle import read_bundle


@torch.inference_mode()
def grid(generator: Network, faces: FaceSet, networks: FaceNetworks, across: int) -> Image.Image:
    transfer = isinstance(generator, Disentangler)
    learnt, test = learning_faces(faces) if transfer else faces.part("train"), faces.part("test")
    known = apply(networks.identity_judge, resized(faces, learnt))
    draw = drawn_exchanged(faces, "cpu") if transfer else None
    people = np.unique(faces.identity[test])
    columns = ("input", *(["driver"] if transfer else []), "model", "true", "nearest")
    sheet = Sheet(columns * across, -(-len(people) // across), faces.size)
    for place, name in enumerate(people):
        own = test[faces.identity[test] == name]
        neutral = [p for p in own if faces.expressions[faces.expression[p]] == NEUTRAL]
        start = int(neutral[0] if neutral else own[0])
        kinds = [kind for kind in range(len(faces.expressions)) if kind != faces.expression[start]]
        target, face = kinds[place % len(kinds)], real_inputs(faces, np.array([start]), "cpu")
        truth = own[faces.expression[own] == target][:1]
        shown = [(_stored(faces, start), str(name))]
        if transfer:
            later = np.concatenate([test[faces.identity[test] == other] for other in np.roll(people, -place - 1)[:-1]])
            shows = later[faces.expression[later] == target]
            if not len(shows):
                sys.exit(f"{faces.dir}: no other test person shows {faces.expressions[target]}; give another face set.")
            driver = shows[:1]
            shown += [(_stored(faces, driver[0]), str(faces.identity[driver[0]]))]
            made = generator(face, real_inputs(faces, driver, "cpu"))
        else:
            made = generator(face, conditions(faces.expressions, torch.tensor([target])))
        shown += [(_face(made), faces.expressions[target])]
        if draw:
            shown += [(_face(draw(Pairings(np.array([start]), driver, np.array([start])))), "drawn")]
        else:
            shown += [(_stored(faces, one), "") for one in truth]
        nearest = int(learnt[int((known @ apply(networks.identity_judge, made)[0]).argmax())])
        row, column = place // across, place % across * len(columns)
        for step, (picture, caption) in enumerate(shown):
            sheet.place(row, column + step, picture, caption)
        sheet.place(row, column + len(columns) - 1, _stored(faces, nearest), str(faces.identity[nearest]))
    return sheet.image


def _stored(faces: FaceSet, picture: int) -> np.ndarray:
    return np.array(faces.faces[picture])


def _face(made: Tensor) -> np.ndarray:
    return as_pixels(made[0]).permute(1, 2, 0).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--across", type=int, default=3)
    asked = parser.parse_args()
    stored = stored_networks(data := FaceSet.open(asked.data))
    if stored is None:
        sys.exit(f"{asked.data}: holds no judges; visage evaluate {asked.bundle} --data {asked.data} makes them.")
    grid(read_bundle(asked.bundle).generator().eval(), data, stored, asked.across).save(asked.out, quality=80)
