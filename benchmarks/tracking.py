"""What a trial's record in MLflow costs, beside the trial: the share that logging takes.

    python benchmarks/tracking.py

Records trials on an SQLite store as a study does: the run with its parameters and its experiment.yaml, six evaluations
of ten points of losses each with a picture, the ending. The calls are made by the driver, so a trial waits for none of
them; the share is of a core's time all the same, in processor seconds, which other work does not stretch.
"""

import json
import os
import tempfile
import time

from machine import measured_with

TRIALS, EVALUATIONS, POINTS = 10, 6, 10
IMAGES_A_SECOND = 50  # of a trial at 64 px and width 32 on one thread, by training.py


def main() -> None:
    from visage.config import Experiment
    from visage.registry.tracking import Tracking

    losses = ("adversarial", "pairing", "pixel", "triplet", "discriminator", "gradient/pixel", "gradient/triplet")
    metrics = dict.fromkeys(("score", "identity", "expression", "identity_similarity", "expression_probability"), 0.5)
    picture = os.urandom(60_000)
    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        experiment = Experiment.model_validate({"data": {"dir": "faces"}, "train": {"images": 24_000}})
        tracking = Tracking(f"sqlite:///{folder}/mlflow.db", "bench")
        study = tracking.start_run("study", experiment=experiment)
        started, wall = time.process_time(), time.perf_counter()
        for trial in range(TRIALS):
            params = experiment.model_dump(mode="json", exclude={"search"})
            run = tracking.start_run(f"trial-{trial}", study.run_id, params=params, experiment=experiment)
            for evaluation in range(1, EVALUATIONS + 1):
                seen = [400 * (POINTS * evaluation + point) for point in range(POINTS)]
                curve = [(images, {f"loss/{name}": 0.5 for name in losses}) for images in seen]
                run.points([*curve, (seen[-1], metrics)])
                run.picture(picture, f"faces/{evaluation:08d}.png")
            run.finish("complete", {"mlflow.note.content": "Repeat it"})
        cpu, wall = (time.process_time() - started) / TRIALS, (time.perf_counter() - wall) / TRIALS
    print(
        json.dumps(
            {
                "cpu_seconds_a_trial": round(cpu, 3),
                "wall_seconds_a_trial": round(wall, 3),
                "share_of_a_trial": round(cpu * IMAGES_A_SECOND / experiment.train.images, 5),
                **measured_with(),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
