"""Which trials keep their checkpoint: the best ones and the Pareto front. The others' go when they have ended."""

import json
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from visage.config.aims import PREFERENCE, Constraint
from visage.config.experiment import Search
from visage.search.study.endings import State
from visage.search.study.records import counted
from visage.training.discard import discard, sizes

if TYPE_CHECKING:
    from optuna import Study

KEEP = "keep_checkpoints"  # user attribute of a study that removes checkpoints: how many of the best it keeps


class Kept:
    """The complete trials that keep theirs, one trial after another. most: how many of the best do.

    The best are those of the highest score, those that meet all constraints first.
    """

    def __init__(self, most: int, objectives: Mapping[str, str], constraints: Sequence[Constraint]) -> None:
        self.most, self.constraints = most, constraints
        # Preferences change after a trial's ending; such a study trains its choice anew.
        self.signs = {name: 1 if mode == "max" else -1 for name, mode in objectives.items() if name != PREFERENCE}
        self._best: list[tuple[bool, float, int]] = []  # rank and number, the first one first
        self._front: dict[int, list[float]] = {}  # of those that meet all constraints; more is better

    @property
    def numbers(self) -> list[int]:
        return sorted({number for *_, number in self._best} | self._front.keys())

    def add(self, number: int, metrics: Mapping[str, Any]) -> list[int]:
        """One more that is complete; returns whose are kept no more from now on, its own perhaps among them."""
        missed = any(rule.violation(metrics[rule.metric]) > 0 for rule in self.constraints)
        touched = [number]
        insort(self._best, (missed, -metrics["score"], number))
        if len(self._best) > self.most:
            touched.append(self._best.pop()[-1])
        values = [sign * metrics[name] for name, sign in self.signs.items()]
        if values and not missed and not any(_better(other, values) for other in self._front.values()):
            behind = [other for other, theirs in self._front.items() if _better(values, theirs)]
            touched += behind
            for other in behind:
                del self._front[other]
            self._front[number] = values
        best = {one for *_, one in self._best}
        return [one for one in dict.fromkeys(touched) if one not in best and one not in self._front]


def _better(one: list[float], other: list[float]) -> bool:
    """Whether one is at least as good as the other in every objective, and better in some."""
    return one != other and all(ours >= theirs for ours, theirs in zip(one, other, strict=True))


def kept_of(study: "Study", most: int) -> Kept:
    """Which trials of a study as it stands keep their checkpoint."""
    search = json.loads(study.user_attrs["experiment"])["search"]
    rules = [Constraint.read(metric, rule) for metric, rule in search.get("constraints", {}).items()]
    kept = Kept(most, search["objectives"], rules)
    for trial in counted(study):
        if trial.user_attrs.get("state") == State.COMPLETE:
            kept.add(trial.number, trial.user_attrs)
    return kept


def places_of(study: "Study") -> dict[int, str]:
    """Where the checkpoints of the trials that ended lie, or lay: paths or addresses, by number."""
    found = {trial.number: trial.user_attrs.get("checkpoint_path", "") for trial in counted(study)}
    return {number: place for number, place in found.items() if place}


def remove(places: Iterable[str], study: str) -> dict[str, int]:
    """Remove checkpoints of a study. Returns the bytes of those that were there, by place.

    Raises NotWritten when disk or bucket refuse; what was not reached is then there as before.
    """
    found = sizes(places)
    for place in found:
        discard(place, why_removed(place, study))
    return found


def why_removed(place: str, study: str) -> str:
    """The sentence for whoever asks for a checkpoint that is there no more."""
    return (
        f"{place}: was removed, as the study {study} keeps the checkpoints of its best trials alone "
        "(search.keep_checkpoints); `visage train --from-run RUN_ID` trains this one again, by its run in MLflow."
    )


def prune(study: "Study") -> tuple[dict[str, int], list[int]]:
    """Remove what a study would not keep now; the bytes by place, and the numbers of the trials that keep theirs."""
    kept = kept_of(study, study.user_attrs.get(KEEP, Search().keep_checkpoints)).numbers
    others = [place for number, place in places_of(study).items() if number not in kept]
    return remove(others, study.study_name), kept
