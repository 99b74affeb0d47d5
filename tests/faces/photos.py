"""Photographs for tests: procedural faces on a plain background, which the detector takes for people."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from visage.faces.synthetic import picture_of


@cache
def face(person: int, expression: str, size: int = 128) -> np.ndarray:
    """uint8 size,size,3."""
    return picture_of(person, expression, 0, size, 0)[1]


def photograph(*faces: np.ndarray, side: int = 256) -> np.ndarray:
    """uint8 side,side*n,3: the faces side by side, each with a border of its own."""
    picture = np.full((side, side * len(faces), 3), 190, np.uint8)
    for number, one in enumerate(faces):
        size = one.shape[0]
        top, left = (side - size) // 2, number * side + (side - size) // 2
        picture[top : top + size, left : left + size] = one
    return picture


def save(path: Path, picture: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def people_folder(
    root: Path, people: int, expressions: tuple[str, ...] = ("neutral", "happy"), side: int = 256
) -> Path:
    """A folder in the flat layout: PERSON_EXPRESSION.png for every person."""
    for person in range(people):
        for expression in expressions:
            save(root / f"p{person:02d}_{expression}.png", photograph(face(person, expression), side=side))
    return root
