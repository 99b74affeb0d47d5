"""Photographs a second of `visage edit FOLDER` against one by one, in one run.

    python benchmarks/folder.py --source FOLDER [--bundle BUNDLE]

`alone` is what a loop over `visage edit` costs without the start of each process: the networks loaded for each
photograph. `kept` keeps them, and torch has all cores. Rounds alternate, and ratios are of neighbours.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import measured_with
from benchmarks.served import untrained_bundle
from visage.editing.many import Item

EXPRESSION = "happy"


def ways(bundle: Any) -> dict[str, Callable[[Sequence[Item]], None]]:
    import numpy as np
    import torch

    from visage.editing.expression import edit, expression_index, locate, to_expression
    from visage.editing.many import edit_all
    from visage.faces.align import Detector
    from visage.faces.picture import read_picture, write_picture
    from visage.methods.requests import EXPRESSION as BY_NAME

    change = to_expression(bundle.card.expressions, EXPRESSION, 1.0, False)
    editor, detector = bundle.editor(BY_NAME), Detector()
    index = expression_index(bundle.card.expressions, EXPRESSION)
    torch.set_num_threads(os.cpu_count() or 1)

    def alone(items: Sequence[Item]) -> None:
        for item in items:
            edit(item.photo, [item.out], bundle, bundle.editor(BY_NAME), change)

    def kept(items: Sequence[Item]) -> None:
        for item in items:
            picture = read_picture(item.photo)
            located = locate(picture, editor.size, detector.find(picture), item.name)
            face = editor.run(np.stack([located.face]), [0], [index], [1.0]).faces[0]
            write_picture(item.out, located.view(face, "photo"))

    def folder(items: Sequence[Item]) -> None:
        for item, fault in edit_all(items, bundle, BY_NAME, change, view="photo"):
            assert not fault, f"{item.name}: {fault}"

    return {"alone": alone, "kept": kept, "folder": folder}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="none: untrained networks of 64 px")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--photographs", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    from visage.faces.layouts.rows import all_pictures
    from visage.registry.bundle import read_bundle

    photos = all_pictures(options.source)[: options.photographs]
    speeds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as out:
        bundle = read_bundle(options.bundle or untrained_bundle(Path(out, "bundle")))
        items = [Item(photo.name, photo, Path(out, f"{n}.jpg")) for n, photo in enumerate(photos)]
        ready = ways(bundle)
        for way in ready.values():
            way(items[:8])  # the first batch of a kind is slower
        for _ in range(options.rounds):
            for name, way in ready.items():
                start = time.perf_counter()
                way(items)
                speeds.setdefault(name, []).append(round(len(items) / (time.perf_counter() - start), 2))
    result: dict[str, Any] = {"photographs": len(photos), "side": bundle.card.image_size, "a_second": speeds}
    for name in ("alone", "kept"):
        ratios = [round(new / old, 2) for new, old in zip(speeds["folder"], speeds[name], strict=True)]
        result[f"folder_over_{name}"] = {"ratios": ratios, "median": round(statistics.median(ratios), 2)}
    print(json.dumps(result | measured_with("torch"), indent=1))


if __name__ == "__main__":
    main()
