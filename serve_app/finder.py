"""Faces in photographs, found in batches: in a thread for each core of the replica."""

import threading
from collections.abc import Sequence

import numpy as np

from serve_app.batcher import Batches
from visage.faces.align import Detector, Found

TOGETHER = 4  # photographs; more are no faster, and the first would wait for the last


class Finder(threading.local):
    """A detector for each thread, as it is not made for several, loaded when the first photograph comes."""

    detector: Detector | None = None

    def begin(self) -> None:
        """One thread of torch in this one: layers so small gain nothing from more."""
        import torch

        torch.set_num_threads(1)

    def find(self, photos: Sequence[np.ndarray]) -> list[list[Found]]:
        if self.detector is None:
            self.detector = Detector()
        return self.detector.find_all(photos)


def finding(cores: int) -> Batches[np.ndarray, list[Found]]:
    """Finds the faces of photographs, uint8 H,W,3."""
    finder = Finder()
    return Batches(
        finder.find, size=TOGETHER, wait_s=0, weight=lambda _: 1, threads=cores, begin=finder.begin, name="detector"
    )
