"""What trials wait for while their evaluations are recorded: the idle share of a fleet that reports by the clock.

    python benchmarks/evaluations.py [TRIALS] [SECONDS] [AWAY]

TRIALS (1,000) run at once, each with one evaluation every ten seconds of the clock, for SECONDS (120): no actors, as a
machine holds no thousand of them. Their results are given to what Tune's loop calls for each, one after the other as
Tune does, at the moment that each is due; a trial goes on once its call has returned, so what it waited is idle time.
The stores are real: Optuna's and MLflow's database, both in SQLite, and pictures of 60 KB. All begin at once, so that
MLflow still makes their runs when the clock starts; its database is locked for AWAY seconds (0) after a third. What
Tune and Ray themselves take for a result is not in it: `empty_trials.py` has that.
"""

import json
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from machine import measured_with

EVERY = 10.0
LOSSES = ("adversarial", "pairing", "pixel", "triplet", "discriminator", "gradient/pixel", "gradient/triplet")
METRICS = ("score", "identity", "expression", "identity_similarity", "expression_probability")
SPACE = {f"loss.{name}.weight": {"log_uniform": [0.1, 100]} for name in ("pixel", "pairing", "triplet")}


def main(trials: int = 1_000, seconds: float = 120, away: float = 0) -> None:
    import optuna

    from visage.config import Experiment
    from visage.registry.tracking import Tracking
    from visage.search.mlflow_callback import MLflowCallback
    from visage.search.optuna_recorder import OptunaRecorder, StudySearch
    from visage.search.study.records import open_study

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        experiment = Experiment.model_validate(
            {
                "data": {"dir": f"{folder}/faces"},
                "search": {"trials": trials, "space": SPACE, "storage": f"sqlite:///{folder}/optuna.db"},
                "registry": {"tracking_uri": f"sqlite:///{folder}/mlflow.db"},
            }
        )
        tracking = Tracking(experiment.registry.tracking_uri, "bench")
        study = open_study(experiment, resume=False)
        study.set_user_attr("run_id", tracking.start_run("study", experiment=experiment).run_id)
        search = StudySearch(OptunaRecorder(study, experiment.search, experiment.train.images))
        log = MLflowCallback(experiment, search.recorder, tracking, None, {})
        picture = Path(folder) / "00000001.png"
        picture.write_bytes(b"p" * 60_000)
        fleet = []
        for number in range(trials):
            config = search.suggest(f"{number}")
            trial = SimpleNamespace(trial_id=f"{number}", config=config, num_failures=0, last_result={})
            log.on_trial_start(0, [], trial)
            fleet.append(trial)
        if away:
            threading.Timer(seconds / 3, hold, (Path(folder) / "mlflow.db", away)).start()
        idle, longest, told = run(log, fleet, seconds, str(picture))
        waiting, began = log.outbox.waiting, time.perf_counter()
        log.running.clear()
        log.close()
        rest = time.perf_counter() - began
        runs = tracking.children(log.run_id, "visage.trial").values()
        kept = sum(len(tracking.history(run_id, "score")) for run_id, _ in runs)
        print(
            json.dumps(
                {
                    "trials": trials,
                    "seconds": seconds,
                    "seconds_without_mlflow": away,
                    "evaluations": told,
                    "evaluations_kept": kept,
                    "idle_share_of_trials": round(idle / (trials * seconds), 5),
                    "longest_wait_of_a_trial": round(longest, 3),
                    "letters_left_at_the_end": waiting,
                    "seconds_until_they_were_told": round(rest, 1),
                    "fault": str(log.recorder.fault or ""),
                    **measured_with("optuna", "mlflow"),
                },
                indent=1,
            )
        )


def run(log: Any, fleet: list[Any], seconds: float, picture: str) -> tuple[float, float, int]:
    """Give the fleet's results to Tune's callback when they are due: (seconds that trials waited, the longest of them,
    how many evaluations). What a trial waited moves its next evaluation, as it trains on after that."""
    due = [(index * EVERY / len(fleet), index) for index in range(len(fleet))]
    images = [0] * len(fleet)
    idle = longest = 0.0
    told, began = 0, time.perf_counter()
    queue = sorted(due)
    while queue and queue[0][0] < seconds:
        at, index = queue.pop(0)
        time.sleep(max(0.0, began + at - time.perf_counter()))
        images[index] += 1_000
        result = {
            "images": images[index],
            "losses": dict.fromkeys(LOSSES, 0.5),
            "faces": [picture],
            **dict.fromkeys(METRICS, 0.5),
        }
        log.on_trial_result(0, [], fleet[index], result)
        waited = time.perf_counter() - began - at
        idle, longest, told = idle + waited, max(longest, waited), told + 1
        queue.append((at + waited + EVERY, index))  # due last, as all take equally long
    return idle, longest, told


def hold(database: Path, seconds: float) -> None:
    """A store that does not answer: its database is locked."""
    with sqlite3.connect(database, timeout=60) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        connection.rollback()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
