"""What a bounded history costs a search: TPE that is shown all trials against what a study shows it.

    python benchmarks/suggestions.py [OBJECTIVES] [TRIALS] [SEEDS]

A known function of seven settings takes the place of training: two figures that pull apart, each with its own best
place, waves and settings that depend on each other, and one setting without effect. One trial after the other; of two
OBJECTIVES (2) the area under the Pareto front counts beside the best score, the harmonic mean of both. CPU seconds are
of the whole run, nearly all of them TPE's.
"""

import json
import sys
import time
from collections.abc import Iterator

import numpy as np
from machine import measured_with

SETTINGS = 7


def figures(x: np.ndarray) -> tuple[float, float]:
    """Two figures in [0, 1] of seven settings in [0, 1]."""
    fixed = np.random.default_rng(1_234)
    first = fixed.uniform(0.2, 0.8, SETTINGS)
    second = np.clip(first + fixed.normal(0, 0.25, SETTINGS), 0.05, 0.95)
    bent = x.copy()
    bent[1], bent[3] = x[1] + 0.3 * (x[0] - 0.5), 2 * x[2] * x[3]
    one, other = (np.exp(-3 * np.sum((bent - place)[:-1] ** 2)) for place in (first, second))
    return float(one * (1 - 0.15 * np.sin(9 * x[0]) ** 2)), float(other * (1 - 0.15 * np.sin(7 * x[4]) ** 2))


def run(objectives: int, trials: int, seed: int, shown: int) -> dict[str, float]:
    import optuna
    from optuna.trial import create_trial

    from visage.config.experiment import Search
    from visage.search import suggestions

    suggestions.SHOWN = shown
    names = {"score": "max"} if objectives == 1 else {"identity_similarity": "max", "expression_probability": "max"}
    space = {f"loss.{name}.weight": {"uniform": [0, 1]} for name in "abcdefg"}
    search = Search.model_validate({"trials": trials, "seed": seed, "objectives": names, "space": space})
    study = optuna.create_study(directions=["maximize"] * objectives)
    draws, began = suggestions.Suggestions(study, search), time.process_time()
    points = np.zeros((trials, 2))
    for number in range(trials):
        drawn = draws.draw()
        draws.begun(number)
        points[number] = figures(np.array(list(drawn.params.values())))
        values = list(points[number]) if objectives == 2 else [score(points[number])]
        ended = create_trial(params=drawn.params, distributions=drawn.distributions, values=values)
        ended.number = number
        draws.ended(ended)
    seconds = time.process_time() - began
    return {"best": max(map(score, points)), "area": sum(steps(points)), "cpu_seconds": seconds}


def score(point: np.ndarray) -> float:
    return float(2 * point[0] * point[1] / (point.sum() + 1e-12))


def steps(points: np.ndarray) -> Iterator[float]:
    """The area under the Pareto front, a step at a time."""
    height = 0.0
    for one, other in points[np.argsort(-points[:, 0])]:
        if other > height:
            yield float(one * (other - height))
            height = other


def main(objectives: int = 2, trials: int = 1_000, seeds: int = 5) -> None:
    import optuna

    from visage.search.suggestions import SHOWN

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for seed in range(seeds):
        ways = {"all": 10**9, "bounded": SHOWN}
        found = {way: run(objectives, trials, seed, shown) for way, shown in ways.items()}
        rounded = {way: {name: round(value, 4) for name, value in one.items()} for way, one in found.items()}
        print(json.dumps({"seed": seed, **rounded}), flush=True)
    print(json.dumps({"objectives": objectives, "trials": trials, **measured_with("optuna")}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
