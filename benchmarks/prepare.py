"""Preparation of photographs: pictures a second and core, and how it grows from one core to two.

    python benchmarks/prepare.py [--source DIR] [--pictures 96]

On the London photographs where they are beside the project, on those of DIR, else on procedural faces in photographs
of 1350 x 1350 pixels. Prints JSON: the detector alone and in batches; reading, detecting and aligning in this process;
Ray Data on one core and on two, once Ray runs and each core has done some pictures, as in a long preparation.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from machine import measured_with

LONDON = Path(__file__).parents[2] / "shared" / "data" / "london"
SIZE = 128
SIDE = 1350
DETECTED = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=LONDON)
    parser.add_argument("--pictures", type=int, default=96)
    options = parser.parse_args()
    os.environ.setdefault("RAY_worker_niceness", "0")
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        source = options.source
        if not source.is_dir():
            source = Path(folder)
            photographs(source, options.pictures)
        paths = sorted(source.resolve().rglob("*.jpg"))[: options.pictures]
        # The cores take turns with the same pictures, so each gets as many as it is to get.
        result: dict[str, object] = {"source": source.name if options.source.is_dir() else f"procedural, {SIDE} px"}
        result |= {"pictures": len(paths), "detector_pictures_per_second": detector(paths[:DETECTED])}
        result["one_process_pictures_per_second"] = alone(paths)
        speeds = {cores: cluster(paths, cores) for cores in (1, 2) if cores <= (os.cpu_count() or 1)}
    result["ray_data_pictures_per_second_by_cores"] = speeds
    if 2 in speeds:
        result["ratio_of_two_cores_to_one"] = round(speeds[2] / speeds[1], 2)
    result |= measured_with("ray", "torch")
    print(json.dumps(result, indent=1))


def photographs(folder: Path, count: int) -> None:
    """Procedural faces of 600 px in photographs of 1350 x 1350, as JPEG."""
    import numpy as np
    from PIL import Image

    from visage.faces.synthetic import picture_of

    for number in range(count):
        face = Image.fromarray(picture_of(number, "happy", 0, 256, 0)[1]).resize((600, 600))
        picture = Image.fromarray(np.full((SIDE, SIDE, 3), 190, np.uint8))
        picture.paste(face, ((SIDE - 600) // 2, (SIDE - 600) // 2))
        picture.save(folder / f"p{number:03d}_happy.jpg", quality=90)


def detector(paths: Sequence[Path]) -> dict[str, float]:
    """The detector by itself, one photograph at a time and in the preparation's batches."""
    from visage.faces.align import Detector
    from visage.faces.photographs import BATCH
    from visage.faces.picture import read_picture

    finder, pictures = Detector(), [read_picture(path) for path in paths]
    speeds = {}
    for name, batch in (("one by one", 1), ("in batches", BATCH)):
        finder.find_all(pictures[:batch])
        start = time.perf_counter()
        for first in range(0, len(pictures), batch):
            finder.find_all(pictures[first : first + batch])
        speeds[name] = round(len(pictures) / (time.perf_counter() - start), 2)
    return speeds


def alone(paths: Sequence[Path]) -> float:
    """Read, detect and align in this process, on one thread."""
    from visage.faces.photographs import BATCH, align_batch

    items = [{"index": k, "path": str(path), "name": path.name} for k, path in enumerate(paths)]
    start = time.perf_counter()
    for first in range(0, len(items), BATCH):
        list(align_batch(items[first : first + BATCH], SIZE))
    return round(len(items) / (time.perf_counter() - start), 2)


def cluster(paths: Sequence[Path], cores: int) -> float:
    """The preparation's own road over a local Ray of so many cores."""
    import ray

    from visage.faces.photographs import aligned

    source, enough = Path(paths[0].anchor), list(paths) * cores
    ray.init(num_cpus=cores, log_to_driver=False, logging_level="error", include_dashboard=False)
    try:
        list(aligned(enough, [False] * len(enough), source, SIZE))  # each core loads its detector
        start = time.perf_counter()
        done = list(aligned(enough, [False] * len(enough), source, SIZE))
        return round(len(done) / (time.perf_counter() - start), 2)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
