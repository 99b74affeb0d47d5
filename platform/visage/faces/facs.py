"""FACS action units and the prototypes of the expressions.

An action unit (AU) is one muscle's visible work; its intensity here runs from 0 (at rest) to 1 (FACS grade E).
Every AU acts on both sides except AU 14, the mark of contempt: it acts on the person's left side only and draws
AU 12 to that side with it.
"""

from collections.abc import Mapping

import numpy as np

AUS: tuple[int, ...] = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 27)

EXPRESSIONS: tuple[str, ...] = ("neutral", "happy", "sad", "surprise", "fear", "anger", "disgust", "contempt")

# EMFACS: the action units whose presence marks each expression.
_PROTOTYPES: dict[str, dict[int, float]] = {
    "neutral": {},
    "happy": {6: 0.9, 12: 0.95},
    "sad": {1: 1.0, 4: 0.6, 15: 1.0},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.8, 26: 1.0},
    "fear": {1: 1.0, 2: 0.5, 4: 0.7, 5: 1.0, 7: 0.4, 20: 1.0, 26: 0.5},
    "anger": {4: 1.0, 5: 0.5, 7: 0.8, 23: 1.0},
    "disgust": {9: 1.0, 15: 0.6, 17: 0.8},
    "contempt": {12: 0.7, 14: 1.0},
}


def prototype(expression: str) -> dict[int, float]:
    """The EMFACS prototype of an expression: AU number -> intensity in 0..1, AUs at rest left out.

    Raises KeyError for a name that is not in EXPRESSIONS.
    """
    return dict(_PROTOTYPES[expression])


def one_sided(expression: str) -> bool:
    """Whether the expression is drawn on one side of the face, so that its mirror image is another."""
    return 14 in _PROTOTYPES.get(expression, {})


def au_vector(aus: Mapping[int, float]) -> np.ndarray:
    """Intensities as a float32 vector in the order of AUS; AUs left out are 0.

    Raises ValueError for an AU that is not in AUS and for an intensity outside 0..1.
    """
    unknown = sorted(set(aus) - set(AUS))
    if unknown:
        raise ValueError(f"AU {unknown[0]} is not known; use one of {', '.join(map(str, AUS))}")
    for au, intensity in aus.items():
        if not 0 <= intensity <= 1:
            raise ValueError(f"AU {au} has the intensity {intensity}; give one in 0..1")
    return np.array([aus.get(au, 0.0) for au in AUS], np.float32)
