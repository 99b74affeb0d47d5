"""Faces in photographs, found in batches: in a thread for each core of the replica."""

import threading
from collections.abc import Sequence

import numpy as np

from serve_app.batcher import Batches
from visage.faces.align import Detector, Found

TOGETHER = 4  # photographs; more are no faster, and the first would wait for the last


def finding(cores: int) -> Batches[np.ndarray, list[Found]]:
    """Finds the faces of photographs, uint8 H,W,3, with a detector for each thread, as it is not made for several."""
    own = threading.local()

    def begin() -> None:
        import torch

        torch.set_num_threads(1)  # layers so small gain nothing from more

    def find(photos: Sequence[np.ndarray]) -> list[list[Found]]:
        if not hasattr(own, "detector"):  # loaded when the first photograph comes
            own.detector = Detector()
        found: list[list[Found]] = own.detector.find_all(photos)
        return found

    return Batches(find, size=TOGETHER, wait_s=0, weight=lambda _: 1, threads=cores, begin=begin, name="detector")
