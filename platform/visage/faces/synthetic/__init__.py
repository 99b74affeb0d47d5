"""Procedural faces: a person is a seed, an expression a vector of FACS action units."""

from visage.faces.synthetic.face import render
from visage.faces.synthetic.people import SyntheticRow, drawn_with, exchanged, picture_of, unit_picture
from visage.faces.synthetic.person import Traits, traits

__all__ = [
    "SyntheticRow",
    "Traits",
    "drawn_with",
    "exchanged",
    "picture_of",
    "render",
    "traits",
    "unit_picture",
]
