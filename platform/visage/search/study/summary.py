"""A study in short: what ended how, which trial leads and why, what mattered. The terminal and MLflow both show it."""

import json
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from visage.config import Dimension
from visage.config.aims import PREFERENCE, UNSEEN, Stop
from visage.registry.store import in_store
from visage.search.study.budget import LEFT, STOP, Spent
from visage.search.study.choices import choices_of, preferences, told
from visage.search.study.endings import CUT_OFF, RUNNING, State
from visage.search.study.kept import KEEP, kept_of
from visage.search.study.page import looking
from visage.search.study.records import STOPPED, feasible

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

EDGE = 0.02  # share of a range (of its logarithm, on a log scale) that counts as its edge


class Line(BaseModel):
    """A trial of the table. values: by objective, empty where it reached none. seconds: None before the first report.

    feasible: whether it is complete and meets all constraints. preference: the probability that people find it better
    than a middling one; None where nobody was shown it. checkpoint: its folder's path or address, told to no page.
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="null")

    number: int
    state: str
    reason: str
    score: float | None
    values: dict[str, float]
    params: dict[str, Any]
    images: int
    seconds: float | None
    run_id: str
    feasible: bool
    preference: float | None
    checkpoint: str = Field("", exclude=True)


@dataclass(frozen=True)
class Summary:
    """A study as it stands. lines: by rank: the feasible complete trials by score, or by preference where that is
    sought, then the others. Trials that were cut off go on with it, and have not ended.

    planned: how many trials it will have. counts: by ending, in words. why: sentences on the first line's trial.
    nearest: which came nearest to the constraints while no complete trial meets them, in words. front: numbers of the
    trials that none is better than in every objective; none with one objective. importances: share of the
    differences in score, by path. space: by path, in words. spent: of which budget how much, in words. left: the rest
    of a study that runs, as its driver last noted it, in words. stopped: which budget ended it, in words. kept: whose
    checkpoints are kept; none of a study that removes none. outcome: of the final training and the gate, if it came to
    that. registry, storage: where it is kept. study: as Optuna holds it.
    """

    name: str
    run_id: str
    planned: int
    counts: dict[str, int]
    objectives: dict[str, str]
    constraints: tuple[str, ...]
    space: dict[str, str]
    lines: tuple[Line, ...]
    why: tuple[str, ...]
    nearest: str
    front: tuple[int, ...]
    importances: dict[str, float]
    spent: str
    left: str
    stopped: str
    kept: tuple[int, ...]
    outcome: dict[str, Any]
    registry: str
    storage: str
    study: "Study" = field(repr=False)

    @property
    def complete(self) -> int:
        return self.counts[State.COMPLETE]

    @property
    def pruned(self) -> int:
        return self.counts[State.PRUNED]

    @property
    def failed(self) -> int:
        """Diverged trials and crashed ones."""
        return self.counts[State.DIVERGED] + self.counts[State.FAILED]

    @property
    def trials(self) -> int:
        """Those that ended."""
        return self.complete + self.pruned + self.failed

    @property
    def repeat(self) -> str:
        """The command that trains the best trial's setting again; empty without one."""
        return self.repeating(self.best) if self.best else ""

    def repeating(self, line: Line) -> str:
        """The command that trains a trial's setting again; empty of one that MLflow has no run of yet."""
        return f"visage train --from-run {line.run_id}{in_store(self.registry)}" if line.run_id else ""

    @property
    def look(self) -> str:
        """The command that shows the study in a terminal."""
        return looking(self.name, self.storage)

    @property
    def checkpoints(self) -> str:
        """Whose checkpoints there are, and what to do about the others; empty where none is removed."""
        if not self.kept:
            return ""
        return (
            f"checkpoints are kept of trials {', '.join(map(str, self.kept))} (search.keep_checkpoints and the Pareto "
            "front); `visage train --from-run RUN_ID` trains any other again"
        )

    @property
    def spending(self) -> str:
        """What is spent, or which budget ended the study and how to go on; empty where nothing is known of it."""
        if self.stopped:
            return f"{self.stopped}; a larger one and `visage tune CONFIG --resume` go on"
        return ", ".join(filter(None, (self.spent, self.left)))

    @property
    def best(self) -> Line | None:
        return self.lines[0] if self.lines and self.lines[0].feasible else None

    def __str__(self) -> str:
        found = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        best = f"; best trial {self.best.number} with score {self.best.score:.3f}" if self.best else ""
        return f"study {self.name}: {self.trials} of {self.planned} trials ({found or 'none yet'}){best}"


def summarise(study: "Study", weights: dict[str, float] | None = None) -> Summary:
    """The study now, read from its database. weights: the importances, where they are known; they take a second."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name != "WAITING"]
    experiment = json.loads(study.user_attrs["experiment"])
    search = experiment["search"]
    choices = choices_of(study.user_attrs)
    preferred, sought = preferences(choices), PREFERENCE in search["objectives"]
    lines = sorted(
        (_line(trial, list(search["objectives"]), preferred) for trial in trials), key=lambda line: _rank(line, sought)
    )
    leader = lines[0].number if lines and lines[0].feasible else None
    counts = Counter(line.state for line in lines)
    left = study.user_attrs.get(LEFT, "") if counts[RUNNING] else ""
    space = {path: Dimension.model_validate(found) for path, found in search["space"].items()}
    front = tuple(trial.number for trial in study.best_trials) if len(study.directions) > 1 else ()
    constraints = tuple(f"{metric} {rule}" for metric, rule in search.get("constraints", {}).items())
    return Summary(
        name=study.study_name,
        run_id=study.user_attrs.get("run_id", ""),
        planned=study.user_attrs.get("trials", search["trials"]),
        counts={state: counts.get(state, 0) for state in (*map(str, State), RUNNING, CUT_OFF)},
        objectives=search["objectives"],
        constraints=constraints,
        space={path: _range(dimension) for path, dimension in space.items()},
        lines=tuple(lines),
        why=(
            *_why(lines, front, space, constraints, experiment["train"]["seed"], sought),
            *told(choices, preferred, leader),
        ),
        nearest=_nearest([trial for trial in trials if trial.user_attrs.get("state") == State.COMPLETE]),
        front=front,
        importances=importances_of(study) if weights is None else weights,
        spent=Spent.of(study).told(Stop.model_validate(study.user_attrs.get(STOP, {}))),
        left=left,
        stopped=study.user_attrs.get(STOPPED, ""),
        kept=tuple(kept_of(study, study.user_attrs[KEEP]).numbers) if KEEP in study.user_attrs else (),
        outcome=study.user_attrs.get("outcome", {}),
        registry=experiment["registry"]["tracking_uri"],
        storage=search["storage"],
        study=study,
    )


def _line(trial: "FrozenTrial", objectives: Sequence[str], preferred: Mapping[int, float]) -> Line:
    kept = dict(trial.user_attrs)
    if trial.number in preferred:
        kept[PREFERENCE] = preferred[trial.number]
    state = kept.get("state", RUNNING)
    able = state == State.COMPLETE and feasible(trial)
    missed = "misses a constraint" if state == State.COMPLETE and not able else ""
    return Line(
        number=trial.number,
        state=state,
        reason=kept.get("reason") or missed,
        score=kept.get("score"),
        values={name: kept[name] for name in objectives if name in kept},
        params=trial.params,
        images=kept.get("images", 0),
        seconds=kept.get("time_total_s"),
        run_id=kept.get("run_id", ""),
        feasible=able,
        preference=preferred.get(trial.number),
        checkpoint=kept.get("checkpoint_path", ""),
    )


def _rank(line: Line, sought: bool) -> tuple[bool, bool, float, float, int]:
    score = -math.inf if line.score is None else line.score
    preference = (UNSEEN if line.preference is None else line.preference) if sought else 0.0
    return not line.feasible, line.state != State.COMPLETE, -preference, -score, line.number


def _why(
    lines: list[Line], front: tuple[int, ...], space: dict[str, Dimension], constraints: tuple[str, ...], seed: int,
    preferred: bool = False,
) -> list[str]:  # fmt: skip
    complete = [line for line in lines if line.state == State.COMPLETE]
    able = [line for line in complete if line.feasible]
    if not able:
        missing = f" meets {' and '.join(constraints)}" if complete and constraints else " is complete yet"
        return [f"No trial{missing}."]
    best, *others = able
    among = f"the {len(complete)} complete trials" if len(complete) > 1 else "all, as the one complete trial"
    if constraints:
        among = f"the {len(able)} of {len(complete)} complete trials that meet {' and '.join(constraints)}"
    said = [f"Trial {best.number} has the highest score of {among}: {best.score:.4f}."]
    if preferred and best.preference is not None:
        said = [f"Trial {best.number} is what people prefer of {among}: {best.preference:.2f}, score {best.score:.4f}."]
    elif preferred and any(line.preference is not None for line in others):
        said = [
            f"Trial {best.number}, score {best.score:.4f}, was shown to nobody yet and counts as {UNSEEN:g}, above "
            f"which people prefer none of {among}."
        ]
    elif others:
        margin = (best.score or 0) - (others[0].score or 0)
        said.append(
            f"That is {margin:.4f} above the second, trial {others[0].number}. Each setting was trained once (seed "
            f"{seed}), so a margin that another seed would move says little."
        )
    if front:
        place = "stands on" if best.number in front else "does not stand on"
        said.append(f"It {place} the Pareto front, which holds {len(front)} of the {len(complete)} complete trials.")
    edges = [path for path, value in best.params.items() if path in space and _at_edge(space[path], value)]
    if edges:
        said.append(f"At the edge of its range: {', '.join(edges)}; a wider range may hold a better value.")
    return said


def _nearest(complete: "list[FrozenTrial]") -> str:
    """Which of the complete trials missed its constraints by least; empty without any, and where one meets them."""
    if not complete or any(map(feasible, complete)):
        return ""
    near = min(complete, key=lambda trial: sum(max(0.0, violation) for violation in trial.constraints.values()))
    missed = [name for name, violation in near.constraints.items() if violation > 0]
    reached = [f"{name} (it reached {near.user_attrs[name.split()[0]]:.4g})" for name in missed]
    return (
        f"none of the {len(complete)} complete trials meets all of {', '.join(near.constraints)}; "
        f"the nearest, trial {near.number}, misses {' and '.join(reached)}"
    )


def _at_edge(dimension: Dimension, value: Any) -> bool:
    if dimension.choice is not None:
        return False
    low, high = dimension.ends()
    if dimension.log_uniform is not None:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return not EDGE < (value - low) / (high - low) < 1 - EDGE


def _range(dimension: Dimension) -> str:
    if dimension.choice is not None:
        return "one of " + ", ".join(map(str, dimension.choice))
    low, high = dimension.ends()
    return f"{low:g} to {high:g}{', log scale' if dimension.log_uniform is not None else ''}"


def importances_of(study: "Study") -> dict[str, float]:
    """What share of the differences in score goes with each searched setting, by path.

    Empty while there are not two complete trials of different scores.
    """
    from optuna.importance import get_param_importances

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("state") == State.COMPLETE]
    if len({trial.user_attrs["score"] for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Optuna measures what makes a target low, and low of the negative is high of the score.
        return get_param_importances(study, target=lambda trial: -float(trial.user_attrs["score"]))
