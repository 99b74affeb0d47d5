"""A study on trials that train nothing: what each does is written down, by its number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from visage.config import Experiment

GOAL = 900
SPACE = {"loss.pixel.weight": {"log_uniform": [1, 200]}, "loss.triplet.margin": {"uniform": [0.05, 1.0]}}


def experiment(folder: Path, tracking: str, **search: Any) -> Experiment:
    """Trials of 900 images with an evaluation every 100; the study's database lies in the folder."""
    return Experiment.model_validate(
        {
            "data": {"dir": str(folder / "faces")},
            "train": {"images": GOAL, "evaluate_every": 100, "batch": 10, "workers": 1},
            "search": {
                "name": "test",
                "trials": 4,
                "space": SPACE,
                "storage": f"sqlite:///{folder}/optuna.db",
                "scheduler": "none",
                **search,
            },
            "registry": {"tracking_uri": tracking},
        }
    )


def trials(behaviour: Callable[[int, dict[str, float], int], float]) -> Callable[[Experiment, Path], Any]:
    """Trials whose score is behaviour(number, values, images); what it raises, they raise.

    As real ones they go on from where they were: after each report of a trial its folder says how far it came, and
    holds a file in the place of a checkpoint.
    """

    def make(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
        def trial(config: dict[str, Any]) -> None:
            from visage.search.trials.trial import with_endings
            from visage.training.progress import Progress
            from visage.training.run import tell_again

            def attempt(chosen: Experiment, folder: Any, report: Callable[[Progress], None]) -> None:
                reached = folder.path / "reached"
                start = int(reached.read_text()) if reached.exists() else 0
                tell_again(folder, report)
                for images in range(start + 100, GOAL + 1, 100):
                    score = behaviour(config["number"], config["values"], images)
                    reached.write_text(str(images))
                    folder.checkpoint.mkdir(exist_ok=True)
                    (folder.checkpoint / "state.pt").write_text(str(images))
                    metrics = {
                        "identity_similarity": score,
                        "expression_probability": 1 - score,
                        "score": score,
                        "identity": score,
                        "frechet": 2 - score,
                    }
                    faces = folder.path / "faces" / "last.png" if images == GOAL else None
                    if faces:
                        faces.parent.mkdir(exist_ok=True)
                        faces.write_bytes(b"a picture")
                    point = Progress(images, {"pixel": 1 / images}, metrics, faces)
                    folder.append(point)
                    report(folder.upload_after(point, last=images == GOAL))

            with_endings(attempt, experiment, folder, config)

        return trial

    return make
