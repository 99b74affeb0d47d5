"""What people chose between faces of two models that they could not tell apart by name, and what follows from it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from visage.judging.metrics import Estimate, Numbers

Z = 1.96  # of a 95 % interval
SPREAD = 1.0  # standard deviation of strengths before a choice, in logits: half of all pairs are at least 63 to 37
WORTH = {"first": 1.0, "same": 0.5, "second": 0.0}  # of a choice, to the first
STEPS, ENOUGH = 50, 1e-9  # of Newton's method


class Choice(BaseModel):
    """One choice. first, second: what was shown, by name, in no order. better: which of them was chosen. person: who of
    them is still the same person. asked: what the faces were to show. when: UTC, ISO 8601. who: as they called
    themselves; empty where they did not."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    first: str
    second: str
    better: Literal["first", "second", "same"]
    person: Literal["first", "second", "both", "neither"]
    asked: str = Field("", max_length=100)
    who: str = Field("", max_length=60)
    when: str = ""

    def worth(self, name: str) -> float:
        """What it is worth to `name`, which is one of both: 1, half of it to each in a tie, or 0."""
        return WORTH[self.better] if name == self.first else 1 - WORTH[self.better]

    def kept(self, name: str) -> bool:
        """Whether `name`, one of both, is still the same person."""
        return self.person in ("both", "first" if name == self.first else "second")


@dataclass(frozen=True)
class Share:
    """What was chosen between two. better: the share that found the first one better, a tie counting half, with its
    95 % interval. first_kept, second_kept: the share to whom each is still the same person."""

    choices: int
    people: int
    better: Estimate
    first_kept: float
    second_kept: float

    @property
    def verdict(self) -> Literal["first", "second", "open"]:
        """Whom people prefer, if the interval leaves no doubt."""
        if self.better.low > 0.5:
            return "first"
        return "second" if self.better.high < 0.5 else "open"

    def told(self, first: str, second: str) -> str:
        """In a sentence."""
        figures = f"{self.better.value:.0%} ({self.better.low:.0%} to {self.better.high:.0%})"
        words = {"first": f"people prefer {first}", "second": f"people prefer {second}", "open": "no preference shown"}
        return (
            f"eyes: {first} found better than {second} in {figures} of {counted(self.choices, self.people)}, still the "
            f"same person in {self.first_kept:.0%} against {self.second_kept:.0%}: {words[self.verdict]}"
        )


def counted(choices: int, people: int) -> str:
    """How many choices by how many people, in words."""
    return f"{choices} {'choice' if choices == 1 else 'choices'} by {people} {'person' if people == 1 else 'people'}"


def between(choices: Iterable[Choice], first: str, second: str) -> Share | None:
    """The share of `first` in the choices between the two; None without one.

    The interval is Wilson's (JASA 22, 1927), over choices: that one chooser's choices, or those of one person's faces,
    are alike is not in it.
    """
    own = [choice for choice in choices if {choice.first, choice.second} == {first, second}]
    if not own:
        return None
    share, count = sum(choice.worth(first) for choice in own) / len(own), len(own)
    centre = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    reach = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count)) / (1 + Z * Z / count)
    return Share(
        choices=count,
        people=len({choice.who for choice in own}),
        better=Estimate(share, max(0.0, centre - reach), min(1.0, centre + reach)),
        first_kept=sum(choice.kept(first) for choice in own) / count,
        second_kept=sum(choice.kept(second) for choice in own) / count,
    )


class Strengths:
    """How strong each of some models is by all choices between them (Bradley and Terry, Biometrika 39, 1952).

    The one with strength a is found better than that with b with probability 1 / (1 + exp(b - a)). A strength is normal
    with SPREAD before any choice, so that what was never shown, or always won, has one too. names: of all.
    """

    def __init__(self, choices: Sequence[Choice], names: Sequence[str]) -> None:
        self.names = list(names)
        place = {name: at for at, name in enumerate(self.names)}
        known = [choice for choice in choices if choice.first in place and choice.second in place]
        # A row for each choice: 1 at the first, -1 at the second.
        sides = np.zeros((len(known), len(self.names)))
        for row, choice in zip(sides, known, strict=True):
            row[place[choice.first]], row[place[choice.second]] = 1, -1
        won = np.array([WORTH[choice.better] for choice in known], float)
        self.mean: Numbers = np.zeros(len(self.names))
        for _ in range(STEPS):
            chance = 1 / (1 + np.exp(-sides @ self.mean))
            slope = sides.T @ (won - chance) - self.mean / SPREAD**2
            curve = sides.T @ (sides * (chance * (1 - chance))[:, None]) + np.eye(len(self.names)) / SPREAD**2
            step = np.linalg.solve(curve, slope)
            self.mean = self.mean + step
            if np.abs(step).max(initial=0) < ENOUGH:
                break
        self.covariance = np.linalg.inv(curve)

    def preferences(self) -> Mapping[str, float]:
        """By name, the probability (0..1) that it is found better than one of middling strength."""
        return {name: float(1 / (1 + np.exp(-mean))) for name, mean in zip(self.names, self.mean, strict=True)}

    def next_pair(self, random: np.random.Generator) -> tuple[str, str]:
        """The two to be shown next, in an order by chance: those that lead in two draws from what is believed.

        Double Thompson sampling (Wu and Liu, NeurIPS 2016), over this model: choices go where the best may be. Takes
        two names at least.
        """
        first, second = (self._led(random) for _ in range(2))
        while second == first:
            second = self._led(random, without=first)
        pair = (self.names[first], self.names[second])
        return pair if random.random() < 0.5 else pair[::-1]

    def _led(self, random: np.random.Generator, without: int | None = None) -> int:
        drawn = random.multivariate_normal(self.mean, self.covariance, method="cholesky")
        if without is not None:
            drawn[without] = -np.inf
        return int(drawn.argmax())
