"""What a study costs beside its trials: the seconds of a trial that does nothing.

    python benchmarks/empty_trials.py [TRIALS] [SIDE_BY_SIDE] [SAMPLER]

Each trial reports one result and ends. What is measured is the whole study, with Ray running already: suggestions (for
two objectives and one setting, by tpe unless another SAMPLER is named), Tune, Optuna's database and MLflow's, both in
SQLite. Apart from that stands what comes before the first trial, imports for the most part, and after the last one:
what MLflow had not been told yet, tables and figures. Ray's published figure for Tune alone is 9 ms a trial on 16
cores.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from machine import measured_with

from visage.config import Experiment


def empty(experiment: Experiment, study: Path) -> Callable[[dict[str, Any]], None]:
    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        drawn = random.Random(config["number"])  # equal ones would all be the Pareto front
        identity, expression = drawn.random(), drawn.random()
        tune.report(
            {
                "images": experiment.train.images,
                "identity_similarity": identity,
                "expression_probability": expression,
                "score": (identity * expression) ** 0.5,
                "checkpoint_path": str(study),
            }
        )

    return trial


def main(trials: int = 1_000, side_by_side: int = os.cpu_count() or 1, sampler: str = "tpe") -> None:

    from visage.infra.ray_session import local_ray
    from visage.search.study.progress import StudyProgress
    from visage.search.tune import tune

    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder, local_ray():
        search = {
            "trials": trials,
            "concurrency": side_by_side,
            "scheduler": "none",
            "sampler": sampler,
            "storage": f"sqlite:///{folder}/optuna.db",
            "space": {"loss.pixel.weight": {"log_uniform": [1, 200]}},
        }
        experiment = Experiment.model_validate(
            {
                "data": {"dir": f"{folder}/faces"},
                "search": search,
                "registry": {"tracking_uri": f"sqlite:///{folder}/mlflow.db"},
            }
        )
        clock: list[tuple[float, float]] = []  # at each point of the study, in seconds and in seconds of the CPU
        thousands: list[float] = []  # the CPU's clock at the end of each thousand trials

        def note(point: StudyProgress) -> None:
            clock.append((time.perf_counter(), time.process_time()))
            if point.finished >= 1_000 * len(thousands):
                thousands.append(clock[-1][1])

        began = time.perf_counter()
        result = tune(experiment, trials=empty, progress=note)
        ended = time.perf_counter()
        seconds, cpu = (last - first for first, last in zip(clock[0], clock[-1], strict=True))
    print(
        json.dumps(
            {
                "trials": trials,
                "complete": result.complete,
                "side_by_side": side_by_side,
                "sampler": sampler,
                "milliseconds_of_a_trial": round(1_000 * seconds / trials, 1),
                "milliseconds_of_the_drivers_cpu": round(1_000 * cpu / trials, 1),
                "the_same_by_thousand": [round(after - before, 1) for before, after in pairwise(thousands)],
                "seconds_before": round(clock[0][0] - began, 1),
                "seconds_after": round(ended - clock[-1][0], 1),
                **measured_with("ray", "optuna", "mlflow"),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), *sys.argv[3:])
