"""Faces found a second by a replica, in photographs that wait: as the endpoint searches, and as its package would.

    python benchmarks/finding.py [--cores 2] [--rounds 5] [--photographs 48] [--source DIR]

By turns in each round: MTCNN as facenet-pytorch has it, one photograph after the other in one thread, which was the
endpoint's way until November 2026; and `serve_app.finder`. On the photographs of DIR, else on procedural faces before
coloured clouds, 640 x 640 pixels, which are searched as they are. Prints JSON: photographs a second, the ratio in each
round, and how far the landmarks differ.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import measured_with

Landmarks = list[np.ndarray]
Way = Callable[[Sequence[np.ndarray]], Landmarks]


def photograph(number: int) -> np.ndarray:
    """A face of 240 to 380 px over a background that is not even."""
    from PIL import Image

    from visage.faces.synthetic import picture_of

    random = np.random.default_rng(number)
    scene = Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).resize((640, 640), Image.Resampling.BICUBIC)
    side, x, y = (int(value) for value in random.integers((240, 20, 20), (380, 240, 240)))
    scene.paste(Image.fromarray(picture_of(number, "happy", 0, 256, 0)[1]).resize((side, side)), (x, y))
    return np.asarray(scene)


def of_the_package() -> Way:
    from facenet_pytorch import MTCNN
    from PIL import Image

    from visage.faces.align import DETECTION_SIDES, SMALLEST_FACE

    long = DETECTION_SIDES[1]
    detector = MTCNN(keep_all=True, post_process=False, min_face_size=SMALLEST_FACE, device="cpu")

    def find(photographs: Sequence[np.ndarray]) -> Landmarks:
        found = []
        for photo in photographs:
            image = Image.fromarray(photo)
            scale = min(1.0, long / max(image.size))
            image = image.resize(tuple(round(side * scale) for side in image.size), Image.Resampling.BILINEAR)
            found.append(np.asarray(detector.detect(image, landmarks=True)[2][0], float) / scale)
        return found

    return find


def of_the_endpoint(cores: int) -> Way:
    from serve_app.finder import finding
    from visage.faces.align import one_face

    find = finding(cores)

    def found(photographs: Sequence[np.ndarray]) -> Landmarks:
        async def ask() -> Landmarks:
            answers = await asyncio.gather(*map(find, photographs))
            return [one_face(faces, "photograph").landmarks for faces in answers]

        return asyncio.run(ask())

    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--photographs", type=int, default=48)
    parser.add_argument("--source", type=Path, help="folder of JPEG files, one face in each; none: procedural ones")
    options = parser.parse_args()
    import torch

    from visage.faces.picture import read_picture

    torch.set_num_threads(options.cores)
    if options.source:
        files = sorted(options.source.rglob("*.jpg"))[: options.photographs]
        photographs = [read_picture(file) for file in files]
    else:
        photographs = [photograph(number) for number in range(options.photographs)]
    ways = {"package": of_the_package(), "endpoint": of_the_endpoint(options.cores)}
    first = {name: way(photographs) for name, way in ways.items()}  # the first search of a size is slower
    apart = max(np.abs(a - b).max() for a, b in zip(*first.values(), strict=True))
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way(photographs)
            speeds[name].append(round(len(photographs) / (time.perf_counter() - start), 1))
    ratios = [round(new / old, 2) for old, new in zip(*speeds.values(), strict=True)]
    result = {"cores": options.cores, "photographs_per_second": speeds, "ratios": ratios}
    result |= {"median_ratio": statistics.median(ratios), "landmarks_apart_px": float(f"{apart:.1g}")}
    print(json.dumps(result | measured_with("torch", "torchvision"), indent=1))


if __name__ == "__main__":
    main()
