"""What a study's checkpoints take on the disk, and what removing the others costs the study's loop.

    python benchmarks/checkpoints.py [TRIALS] [SIDE_BY_SIDE] [KEPT]

Trials of two objectives that nobody trains end one after another, each with a file in the place of its checkpoint: a
third complete, the others pruned. Its callback is called as Tune calls it.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
from machine import measured_with

from visage.config.experiment import Search
from visage.search.checkpoint_keeper import CheckpointKeeper
from visage.search.study.endings import Ending, State


def main(trials: int = 10_000, side_by_side: int = 100, kept: int = 5) -> None:
    random = np.random.default_rng(0)
    search = Search(trials=trials, keep_checkpoints=kept)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "maximize"])
    study.set_user_attr("experiment", json.dumps({"search": search.model_dump(mode="json")}))
    recorder = SimpleNamespace(study=study, endings={}, fault=None)
    keeper = CheckpointKeeper(recorder, search, side_by_side)  # type: ignore[arg-type]
    most, seconds = 0, list[float]()
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:

        def begun(number: int) -> SimpleNamespace:
            checkpoint = Path(folder, f"trial-{number:05d}", "checkpoint")
            checkpoint.mkdir(parents=True)
            (checkpoint / "state.pt").write_bytes(b"0" * 1000)
            identity = random.uniform(0.2, 0.9)
            expression = (1 - identity) * random.normal(1, 0.1)  # each is had at the other's cost
            score = 2 * identity * expression / (identity + expression)
            reached = {"identity_similarity": identity, "expression_probability": expression, "score": score}
            result = {"images": 900, "checkpoint_path": str(checkpoint), **reached}
            return SimpleNamespace(config={"number": number}, last_result=result)

        running = [begun(number) for number in range(side_by_side)]
        for number in range(side_by_side, trials + side_by_side):
            trial = running.pop(0)
            ended = trial.config["number"]
            recorder.endings[ended] = Ending(State.PRUNED if ended % 3 else State.COMPLETE)
            began = time.perf_counter()
            keeper.on_trial_result(0, [], trial, trial.last_result)
            keeper.on_trial_complete(0, [], trial)
            seconds.append(time.perf_counter() - began)
            if number < trials:
                running.append(begun(number))
            if number % 500 == 0:
                keeper.pool.submit(lambda: None).result()
                most = max(most, sum(1 for _ in Path(folder).glob("*/checkpoint/state.pt")))
        keeper.close()
    print(
        json.dumps(
            {
                "trials": trials,
                "side_by_side": side_by_side,
                "most_checkpoints_at_once": most,
                "kept_at_the_end": len(keeper.kept.numbers),
                "milliseconds_of_an_ending_mean": round(1_000 * float(np.mean(seconds)), 3),
                "milliseconds_of_an_ending_p99": round(1_000 * float(np.quantile(seconds, 0.99)), 3),
                **measured_with("optuna"),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
