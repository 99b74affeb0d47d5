"""The promotion gate: a pure function of per-face results on the same test people."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from visage.judging.choices import Share
from visage.judging.metrics import Estimate, interval, resampled, score
from visage.judging.table import ROWS
from visage.registry.results import Results

PEOPLE = 20  # test people below which no verdict is given
SCORE_MARGIN = 0.0
IDENTITY_MARGIN = -0.02
RESAMPLINGS = 10_000
Decision = Literal["promote", "reject", "undecided"]


@dataclass(frozen=True)
class Verdict:
    """decision with its reasons as sentences; intervals of the differences in `score` and `identity`, candidate minus
    opponent, and in score to the best `floor`."""

    decision: Decision
    reasons: tuple[str, ...]
    intervals: dict[str, Estimate] = field(default_factory=dict)


def judge_promotion(
    candidate: Results,
    opponent: Results,
    *,
    floors: Mapping[str, Results] = MappingProxyType({}),
    opponent_name: str = "the champion",
    eyes: Share | None = None,
) -> Verdict:
    """Whether the candidate may replace the opponent: the champion, or without one `trivial_answers`.

    floors: by row, the answers that need no network. eyes: what people chose between the two; the gate asks for none,
    and tells it among the reasons, with what it contradicts.

    A 95 % bootstrap over people, paired: both rows are resampled with the same people. Promoted when the lower bound
    of the difference in score (harmonic mean of mean similarity and mean probability) is above 0 and that of the
    difference in identity (verification rate) above -0.02, and when that of the difference in score to every floor is
    above 0. Undecided under 20 people, or when the rows are not of the same faces.
    """
    seen = [eyes.told("the candidate", opponent_name)] if eyes else []
    others = {opponent_name: opponent} | {ROWS.get(name, name): rows for name, rows in floors.items()}
    for name, rows in others.items():
        if set(rows.face) != set(candidate.face):
            reason = f"the candidate and {name} were not judged on the same faces; evaluate both on one face set"
            return Verdict("undecided", (reason, *seen))
    people, person = np.unique(candidate.identity, return_inverse=True)
    if len(people) < PEOPLE:
        reason = f"{len(people)} test people are too few for a verdict, which takes {PEOPLE}"
        return Verdict("undecided", (reason, *seen))

    draws = resampled(len(people), RESAMPLINGS, seed=0)
    here = _figures(candidate, candidate.face, person, draws)
    there = _figures(opponent, candidate.face, person, draws)
    intervals = {name: interval(here[name] - there[name]) for name in here}

    margins = {"score": SCORE_MARGIN, "identity": IDENTITY_MARGIN}
    met = {name: intervals[name].low > margin for name, margin in margins.items()}
    reasons = [_reason(name, opponent_name, intervals[name], margin) for name, margin in margins.items()]
    if floors:
        scores = {name: _figures(rows, candidate.face, person, draws)["score"] for name, rows in floors.items()}
        found = {name: interval(here["score"] - values) for name, values in scores.items()}
        best = min(found, key=lambda name: found[name].low)
        intervals["floor"], met["floor"] = found[best], found[best].low > SCORE_MARGIN
        told = f"the best answer without a network ({ROWS.get(best, best)})"
        reasons.append(_reason("score", told, found[best], SCORE_MARGIN))
    decision: Decision = "promote" if all(met.values()) else "reject"
    if eyes and {"promote": "second", "reject": "first"}[decision] == eyes.verdict:
        seen.append("which contradicts this verdict: look at both before either is served")
    return Verdict(decision, (*reasons, *seen), intervals)


def _reason(name: str, against: str, found: Estimate, margin: float) -> str:
    figures = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{name} against {against}: {figures}, lower bound {'' if found.low > margin else 'not '}above {margin:g}"


def trivial_answers(copy: Results, mean_face: Results) -> Results:
    """The first candidate's opponent: the score of the copied input, and the identity of the mean face.

    Each is the answer that needs no model and fails half of the task. The copy's identity is no bar: a copy is the
    person by construction, so no generator could come within the margin of it by being good.
    """
    verified = dict(zip(mean_face.face, mean_face.verified, strict=True))
    return replace(copy, verified=np.array([verified.get(face, 0.0) for face in copy.face]))


def _figures(
    results: Results, faces: tuple[tuple[str, str, str], ...], person: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """score and identity of each draw of people; arrays of len(draws). person: whose each of the faces is."""
    place = {face: index for index, face in enumerate(results.face)}
    order = np.array([place[face] for face in faces], dtype=int)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.bincount(person, weights=values[order], minlength=draws.shape[1])
        faces = np.bincount(person, minlength=draws.shape[1])
        return (draws @ sums) / (draws @ faces)

    reached = np.asarray(score(mean(results.similarity), mean(results.probability)))
    return {"score": reached, "identity": mean(results.verified)}
