"""Every test person of a face set with what a model makes of them: nobody is chosen, nobody left out.

    python benchmarks/faces.py BUNDLE --data FACE_SET --out benchmarks/NAME.webp [--across 3]

For each test person, from left to right: the input (the first neutral face, or the first), the model's face, the true
face, and the training face that the identity judge finds nearest to the model's, so that a copied one would show. The
target goes from person to person through all expressions but the input's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from visage.faces.faceset import FaceSet
from visage.judging.fit import real_inputs
from visage.judging.report import Sheet
from visage.judging.train import apply, resized, stored_networks
from visage.models.condition import NEUTRAL, conditions
from visage.registry.bundle import read_bundle

COLUMNS = ("input", "model", "true", "nearest")


@torch.inference_mode()
def grid(bundle: Path, data: Path, across: int) -> Image.Image:
    faces, generator = FaceSet.open(data), read_bundle(bundle).generator().eval()
    networks = stored_networks(faces)
    if networks is None:
        sys.exit(f"{data}: holds no judges; visage evaluate {bundle} --data {data} makes them.")
    train, test = faces.part("train"), faces.part("test")
    known = apply(networks.identity_judge, resized(faces, train))
    people = np.unique(faces.identity[test])
    sheet = Sheet(COLUMNS * across, -(-len(people) // across), faces.size)
    for place, name in enumerate(people):
        own = test[faces.identity[test] == name]
        neutral = [p for p in own if faces.expressions[faces.expression[p]] == NEUTRAL]
        start = int(neutral[0] if neutral else own[0])
        kinds = [kind for kind in range(len(faces.expressions)) if kind != faces.expression[start]]
        target = kinds[place % len(kinds)]
        made = generator(
            real_inputs(faces, np.array([start]), "cpu"), conditions(faces.expressions, torch.tensor([target]))
        )
        nearest = int(train[int((known @ apply(networks.identity_judge, made)[0]).argmax())])
        truth = own[faces.expression[own] == target]
        pixels = ((made[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        row, column = place // across, place % across * len(COLUMNS)
        sheet.place(row, column, np.array(faces.faces[start]), str(name))
        sheet.place(row, column + 1, pixels, faces.expressions[target])
        if len(truth):
            sheet.place(row, column + 2, np.array(faces.faces[int(truth[0])]))
        sheet.place(row, column + 3, np.array(faces.faces[nearest]), str(faces.identity[nearest]))
    return sheet.image


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--across", type=int, default=3)
    asked = parser.parse_args()
    grid(asked.bundle, asked.data, asked.across).save(asked.out, quality=80)
