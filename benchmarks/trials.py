"""The fixed cost of a trial with one worker: what it takes beyond its training.

    python benchmarks/trials.py

A study of trials of one training step each, two side by side. The seconds between the endings of the first and the
last trial, times the trials side by side, over the trials between: all that a trial costs but its training, with one
evaluation of 64 pairs, its picture, its checkpoint and its run in MLflow.
"""

import json
import tempfile
import time

from machine import measured_with

TRIALS = 14


def main() -> None:

    from visage.config import Experiment
    from visage.faces.prepare import prepare_if_absent
    from visage.judging.networks.train import face_networks
    from visage.search.study.progress import StudyProgress
    from visage.search.tune import tune

    ended: dict[int, float] = {}
    most = 0

    def note(point: StudyProgress) -> None:
        nonlocal most
        most = max(most, point.running)
        ended.setdefault(point.finished, time.perf_counter())

    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        experiment = Experiment.model_validate(
            {
                "data": {"dir": f"{folder}/faces", "layout": "synthetic", "people": 60, "pictures": 1},
                "train": {"images": 16, "batch": 16, "evaluate_every": 16, "evaluate_pairs": 64},
                "judge": {"images": 1_000},
                "search": {
                    "trials": TRIALS,
                    "scheduler": "none",
                    "storage": f"sqlite:///{folder}/optuna.db",
                    "space": {"loss.pixel.weight": {"log_uniform": [1, 200]}},
                },
                "registry": {"tracking_uri": f"sqlite:///{folder}/mlflow.db"},
            }
        )
        face_networks(prepare_if_absent(experiment.data), experiment.judge)
        result = tune(experiment, progress=note)
    # The first two trials start their processes and import torch; the others reuse them.
    seconds = (ended[TRIALS] - ended[2]) * most / (TRIALS - 2)
    print(
        json.dumps(
            {
                "seconds_of_a_trial": round(seconds, 2),
                "side_by_side": most,
                "complete": result.complete,
                **measured_with("ray", "optuna"),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
