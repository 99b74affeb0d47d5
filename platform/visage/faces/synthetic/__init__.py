"""Procedural faces: a person is a seed, an expression a vector of FACS action units."""

from visage.faces.synthetic.face import render
from visage.faces.synthetic.people import SyntheticRow, generate, picture_of
from visage.faces.synthetic.person import Traits, traits

__all__ = ["SyntheticRow", "Traits", "generate", "picture_of", "render", "traits"]
