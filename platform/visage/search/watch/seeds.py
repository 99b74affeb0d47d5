"""What another seed moves: the differences between trainings that differ in their seed alone."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from scipy import stats

from visage.registry.reading import Facts, Reader
from visage.registry.tracking import PARENT, flattened
from visage.search.study.summary import Line, Summary
from visage.search.watch.schema import Seeds

SEED, IMAGES = "train.seed", "train.images"
REPEATS = "visage.repeats"  # tag of a run: whose settings it trained again


def seeds(summary: Summary, reader: Reader, images: int, seed: int) -> Seeds:
    """What is known of seeds for a study: of its trials that were trained again with another one, and of ablations on
    the same faces.

    images, seed: of its trials. The interval is that of the difference of two single trainings, by Student's t over the
    pooled standard deviation of the groups.
    """
    best, own = summary.best, reader.run(summary.run_id)
    if best is None or own is None:
        return Seeds(said="", command="", reach=None)
    command = f"{summary.repeat} --set {SEED}={seed + 1}" if best.run_id else ""
    again = _again(summary, reader.runs(own.experiment_id, f"tags.`{REPEATS}` LIKE '%'"), images, seed)
    ablated = _ablated(reader.runs(own.experiment_id, "tags.`visage.kind` = 'ablation run'"), own)
    groups = [group for group in (*again, *ablated) if len(group) > 1]
    if not groups:
        said = "No setting was trained with another seed yet, so nobody knows what a seed moves here."
        return Seeds(said=said, command=command, reach=None)
    reach, trainings = reach_of(groups), sum(map(len, groups))
    said = (
        f"Another seed moves the difference of two trainings by up to {reach:.4f} (95 %, of {trainings} trainings of "
        f"{len(groups)} settings that differ in their seed alone)."
    )
    if others := [line for line in summary.lines[1:] if line.feasible]:
        margin = (best.score or 0.0) - (others[0].score or 0.0)
        verdict = "more than that" if margin > reach else "no more than that, so that a seed may have made the order"
        said += f" The lead of {margin:.4f} is {verdict}."
    return Seeds(said=said, command=command, reach=reach)


def reach_of(groups: Sequence[Sequence[float]]) -> float:
    """Half the 95 % interval of the difference of two trainings of one setting. groups: scores by setting, two or more
    each."""
    freedom = sum(len(group) - 1 for group in groups)
    variance = sum(float(np.var(group, ddof=1)) * (len(group) - 1) for group in groups) / freedom
    return float(stats.t.ppf(0.975, freedom)) * math.sqrt(2 * variance)


def _again(summary: Summary, runs: Iterable[Facts], images: int, seed: int) -> list[list[float]]:
    """Scores of trials that were trained again: each one's own first, then one for each other seed."""
    trials = {line.run_id: line for line in summary.lines if line.run_id and line.score is not None}
    found: dict[str, dict[str, float]] = {}
    for run in runs:
        line = trials.get(run.tags[REPEATS])
        if line and "score" in run.metrics and _same(line, run, images):
            found.setdefault(line.run_id, {str(seed): line.score or 0.0}).setdefault(
                run.params.get(SEED, ""), run.metrics["score"]
            )
    return [list(scores.values()) for scores in found.values()]


def _same(line: Line, run: Facts, images: int) -> bool:
    """Whether a run has the searched values and the length of a trial, and came to its end."""
    if run.tags.get("visage.state") != "complete":
        return False
    return all(_alike(run.params.get(path, ""), text) for path, text in flattened({**line.params, IMAGES: images}))


def _alike(one: str, other: str) -> bool:
    """Whether two texts are the same value: 8 and 8.0 are."""
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other


def _ablated(runs: Iterable[Facts], own: Facts) -> list[list[float]]:
    """Scores of ablations' runs on the study's faces, by ablation and variant."""
    found: defaultdict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for run in runs:
        if run.data[1] and run.data[1] == own.data[1] and "score" in run.metrics:
            key = (run.tags.get(PARENT, ""), run.tags.get("visage.variant", ""))
            found[key][run.params.get(SEED, "")] = run.metrics["score"]
    return [list(scores.values()) for scores in found.values()]
