"""What a model's self-check says of its faces of the test people, and of the same faces with damaged mouths.

    python benchmarks/natural.py BUNDLE --data FACE_SET [--out FILE.png]

`natural` is read from the bundle, or fitted where a bundle of an older Visage has none. --out: a picture of some of the
faces and what becomes of them.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.judging.harms import HARMS
from visage.config.experiment import Judge
from visage.faces.faceset import FaceSet
from visage.judging.networks.natural import BATCH
from visage.judging.sheet import Sheet
from visage.models.pixels import as_pixels
from visage.registry.assemble import answers, natural_check
from visage.registry.bundle import read_bundle

FACES, SHOWN = 300, 8


def main(folder: Path, data: Path, out: Path | None) -> None:
    bundle, faces, judge = read_bundle(folder), FaceSet.open(data), Judge()
    generator, sure = bundle.generator(), bundle.self_check()[1]
    request = bundle.method.request
    natural = bundle.natural() or natural_check(generator, request, faces, judge.images, judge.seed).check
    asked, target = request.of_people(faces, "test", FACES)
    good = torch.cat([outputs for _, outputs in answers(generator, request, faces, asked, BATCH)])
    print(f"{len(good)} faces of the test people")
    print("mouth | natural, median | below 0.5, or half of before | expression_confidence, median")
    shown = range(0, len(good), len(good) // SHOWN)[:SHOWN]
    sheet = Sheet([faces.expressions[target[place]] for place in shown], 1 + len(HARMS), faces.size)
    before = natural(good)
    for row, (name, harm) in enumerate({"as made": lambda some: some, **HARMS}.items()):
        changed = harm(good)
        found, confidence = natural(changed), sure(changed)[torch.arange(len(good)), target]
        fallen = ((found < 0.5) | (found < before / 2)).float().mean()
        print(f"{name} | {found.median():.2f} | {fallen:.3f} | {confidence.median():.2f}", flush=True)
        for column, place in enumerate(shown):
            picture = as_pixels(changed[place]).permute(1, 2, 0).numpy()
            sheet.place(row, column, np.ascontiguousarray(picture), f"{name} {found[place]:.2f}")
    if out:
        sheet.image.save(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    main(asked.bundle, asked.data, asked.out)
