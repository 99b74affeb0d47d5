"""What champion and challenger were worth, request by request: numbers alone, gathered from all replicas.

One small deployment keeps them, so that whichever replica is asked tells of all. They are gone when it restarts.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from visage.judging.live import Difference, paired, unpaired

# The newest requests of a pair of models, and the newest pairs.
KEPT, PAIRS = 5_000, 8
METRICS = ("identity_similarity", "expression_confidence")
Values = tuple[float, float]


@dataclass(frozen=True)
class Record:
    """One request, answered by one model or, in shadow mode, run by both: the means over its faces of METRICS.

    champion, challenger: the two models at that moment, as `Model.label` names them.
    """

    champion: str
    challenger: str
    ours: Values | None
    theirs: Values | None


@dataclass
class Kept:
    """both: requests that both models ran. ours, theirs: all that the champion and the challenger answered."""

    both: deque[tuple[Values, Values]] = field(default_factory=lambda: deque(maxlen=KEPT))
    ours: deque[Values] = field(default_factory=lambda: deque(maxlen=KEPT))
    theirs: deque[Values] = field(default_factory=lambda: deque(maxlen=KEPT))
    skipped: int = 0
    # The intervals, which cost some time to draw, and how many records there had been.
    records: int = 0
    drawn: tuple[int, dict[str, Any]] = (-1, {})
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Records:
    """The deployment. Its methods run on one event loop, so they need no locks."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], Kept] = OrderedDict()

    async def add(self, records: Sequence[Record], skipped: int = 0) -> None:
        """skipped: requests that should have been run in shadow mode, for which there was no time."""
        for record in records:
            kept = self._kept(record.champion, record.challenger)
            kept.records += 1
            if record.ours and record.theirs:
                kept.both.append((record.ours, record.theirs))
            elif record.theirs:
                kept.theirs.append(record.theirs)
            if record.ours:
                kept.ours.append(record.ours)
        if skipped and self._pairs:
            next(reversed(self._pairs.values())).skipped += skipped

    async def compared(self, champion: str, challenger: str) -> dict[str, Any]:
        """By mode, shadow and share, each metric's `Difference`; and how many requests were skipped in shadow mode."""
        kept = self._pairs.get((champion, challenger), Kept())
        async with kept.drawing:  # whoever asks meanwhile gets the same
            if kept.drawn[0] != kept.records:
                count, both = kept.records, _array(kept.both, 2, 2)
                ours, theirs = _array(kept.ours, 2), _array(kept.theirs, 2)
                shadow = await asyncio.to_thread(_differences, paired, both[:, 0], both[:, 1])
                share = await asyncio.to_thread(_differences, unpaired, ours, theirs)
                kept.drawn = count, {"shadow": shadow, "share": share}
        return {**kept.drawn[1], "skipped": kept.skipped}

    def _kept(self, champion: str, challenger: str) -> Kept:
        kept = self._pairs.setdefault((champion, challenger), Kept())
        self._pairs.move_to_end((champion, challenger))
        while len(self._pairs) > PAIRS:
            self._pairs.popitem(last=False)
        return kept


def _array(values: Sequence[Any] | deque[Any], *shape: int) -> np.ndarray:
    return np.array(values, np.float64).reshape(-1, *shape)


def _differences(
    compare: Callable[[np.ndarray, np.ndarray], Difference], ours: np.ndarray, theirs: np.ndarray
) -> dict[str, Any]:
    found = {name: compare(ours[:, place], theirs[:, place]) for place, name in enumerate(METRICS)}
    return {name: {**asdict(each), "verdict": each.verdict} for name, each in found.items()}
