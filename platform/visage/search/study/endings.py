"""How a trial ended, decided in one place for Optuna and MLflow alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from visage.infra.ray_session import root

# Keys of a result with which a trial ends itself, and why; the last one stops the study, and the trial goes on later.
DIVERGED, FAILED, HALTED = "diverged", "failed", "halted"
RUNNING, CUT_OFF = "running", "cut off"  # states of trials without an ending; the second one nobody runs at present


class State(StrEnum):
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Ending:
    """reason: why a trial is not complete, in one line; empty when it is."""

    state: State
    reason: str = ""


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a result: its numbers, without the position and without what Tune adds."""
    from ray.tune.result import AUTO_RESULT_KEYS

    left_out = {*AUTO_RESULT_KEYS, "images"}
    return {
        name: float(value)
        for name, value in result.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in left_out and "/" not in name
    }


def divergence(result: Mapping[str, Any]) -> str:
    """Why a result means that the trial diverged, or an empty string."""
    if DIVERGED in result:
        return str(result[DIVERGED])
    broken = [(name, value) for name, value in metrics_of(result).items() if not math.isfinite(value)]
    return f"{broken[0][0]} is {broken[0][1]} at {result.get('images', 0)} images" if broken else ""


def ending_of(result: Mapping[str, Any], needed: Sequence[str], goal: int) -> Ending:
    """The ending of a trial that did not crash: one that ended short of its goal was stopped by the scheduler.

    result: its last one. needed: the metrics that it must report. goal: images of a whole trial.
    """
    if reason := divergence(result):
        return Ending(State.DIVERGED, reason)
    if FAILED in result:
        return Ending(State.FAILED, str(result[FAILED]))
    missing = [name for name in ("images", *needed) if name not in result]
    if missing:
        return Ending(State.FAILED, f"ended without reporting {', '.join(missing)}")
    if result["images"] < goal:
        return Ending(State.PRUNED, f"stopped at {result['images']} of {goal} images")
    return Ending(State.COMPLETE)


def reason_of(error: BaseException | None) -> str:
    """One line for the error that ended a trial."""
    if error is None:
        return "crashed, and left no error behind"
    inner = root(error)
    line = next((line.strip() for line in str(inner).splitlines() if line.strip()), "no message")
    return f"{type(inner).__name__}: {line[:300]}"
