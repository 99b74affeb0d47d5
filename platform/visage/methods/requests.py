"""The two kinds of request that a generator answers: an expression by its name, or that of another face, the driver.

A generator has two inputs: faces, and what is asked of each. Callers give the latter as named columns of N values; a
kind of request turns columns into the second input, and has examples to try a generator with.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from visage.faces.faceset import FaceSet

    Columns = Mapping[str, np.ndarray]
    Pictures = Callable[[np.ndarray], Tensor]

PEOPLE, INTENSITIES = 2, (1.0, 0.5)  # of the examples: how much of every expression each person gets
DRIVERS = ("happy", "surprise", "anger")  # what others show, whose expressions each person gets


@dataclass(frozen=True)
class Asked:
    """N requests of some faces. source: int N, the place of the face that is to change. columns: by name, N values."""

    source: "np.ndarray"
    columns: "Columns"


class Request(ABC):
    """A kind of request. Only its two instances, EXPRESSION and DRIVER, are used.

    columns: the names of what is asked. places: those of them that are places of faces. inputs: the names of a
    generator's two inputs, as its ONNX file has them.
    """

    columns: ClassVar[tuple[str, ...]]
    places: ClassVar[tuple[str, ...]] = ()
    inputs: ClassVar[tuple[str, str]]

    @abstractmethod
    def command(self, expression: str) -> str:
        """The command's words after `visage`; expression: a name to ask for."""

    @abstractmethod
    def second(self, columns: "Columns", pictures: "Pictures", expressions: Sequence[str]) -> "Tensor":
        """A generator's second input for N requests. columns: of N values each. pictures: the faces at some places, as
        N,3,S,S in [-1, 1]. expressions: K names, as the generator knows them. Returns conditions N,K, or N,3,S,S."""

    @abstractmethod
    def examples(self, expressions: Sequence[str]) -> tuple[list[str], Asked]:
        """What every generator is tried with: the expression that each of M drawn people shows, and what is asked."""

    @abstractmethod
    def of_people(self, faces: "FaceSet", part: str, limit: int, seed: int = 0) -> "tuple[Asked, np.ndarray]":
        """At most `limit` requests of the faces of a part's people, drawn by `seed`, each for another expression than
        the face's own, and the places of those expressions, int N."""

    @abstractmethod
    def fits(self, columns: "Columns", faces: int, expressions: int) -> bool:
        """Whether all that is asked is there, of so many faces and so many expressions."""


class ByName(Request):
    """expression: int, its place among the generator's; intensity: 0 to 1.5."""

    columns = ("expression", "intensity")
    inputs = ("face", "condition")

    def command(self, expression: str) -> str:
        return f"edit PHOTO --to {expression}"

    def second(self, columns: "Columns", pictures: "Pictures", expressions: Sequence[str]) -> "Tensor":
        import torch

        from visage.models.condition import conditions

        return conditions(expressions, torch.from_numpy(columns["expression"]), torch.from_numpy(columns["intensity"]))

    def examples(self, expressions: Sequence[str]) -> tuple[list[str], Asked]:
        import numpy as np

        count = len(expressions)
        columns: Columns = {
            "expression": np.tile(np.arange(count), PEOPLE),
            "intensity": np.repeat(np.array(INTENSITIES, np.float32), count),
        }
        return ["neutral"] * PEOPLE, Asked(np.repeat(np.arange(PEOPLE), count), columns)

    def of_people(self, faces: "FaceSet", part: str, limit: int, seed: int = 0) -> "tuple[Asked, np.ndarray]":
        import numpy as np

        from visage.judging.pairs import pairs

        asked = pairs(faces, part, limit, seed)
        columns = {"expression": asked.target, "intensity": np.ones(len(asked), np.float32)}
        return Asked(asked.input, columns), asked.target

    def fits(self, columns: "Columns", faces: int, expressions: int) -> bool:
        return set(columns["expression"].tolist()) <= set(range(expressions))


class ByDriver(Request):
    """driver: int, the place of the face whose expression is wanted."""

    columns = places = ("driver",)
    inputs = ("source", "driver")

    def command(self, expression: str) -> str:
        return "transfer PHOTO --from DRIVER"

    def second(self, columns: "Columns", pictures: "Pictures", expressions: Sequence[str]) -> "Tensor":
        return pictures(columns["driver"])

    def examples(self, expressions: Sequence[str]) -> tuple[list[str], Asked]:
        import numpy as np

        count = len(DRIVERS)
        columns = {"driver": np.tile(np.arange(PEOPLE, PEOPLE + count), PEOPLE)}
        return ["neutral"] * PEOPLE + list(DRIVERS), Asked(np.repeat(np.arange(PEOPLE), count), columns)

    def of_people(self, faces: "FaceSet", part: str, limit: int, seed: int = 0) -> "tuple[Asked, np.ndarray]":
        from visage.judging.pairs import pairings

        asked = pairings(faces, part, limit, seed)
        return Asked(asked.source, {"driver": asked.driver}), faces.expression[asked.driver]

    def fits(self, columns: "Columns", faces: int, expressions: int) -> bool:
        return set(columns["driver"].tolist()) <= set(range(faces))


EXPRESSION, DRIVER = ByName(), ByDriver()
