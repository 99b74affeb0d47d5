"""A face set that is made at once, for what only has to know that there is one."""

from pathlib import Path

import numpy as np

from visage.config.data import Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row


def dozen(folder: Path) -> FaceSet:
    """Twelve people, black pictures of 16 px."""
    rows = [Row(Path(f"{k}.png"), f"p{k // 2}", ("neutral", "happy")[k % 2]) for k in range(24)]
    faces = [np.zeros((16, 16, 3), np.uint8)] * 24
    shares = Shares(train=0.5, validation=0.25, test=0.25)
    return write_face_set(folder, rows, faces, name="a dozen", layout="folder", size=16, shares=shares)
