"""Studies to look at: made with Optuna directly, their runs in MLflow, and nothing trained."""

import json
import math
import random
import sqlite3
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState, create_trial

from tests.search.fakes import GOAL, experiment
from visage.config.aims import UNSEEN
from visage.judging.sheet import Sheet
from visage.registry.datasets import log_faces
from visage.registry.tracking import RunLog, Tracking

RANGES = {"loss.pixel.weight": FloatDistribution(1, 200, log=True), "loss.triplet.margin": FloatDistribution(0.05, 1.0)}
EVERY = 100


def begun(folder: Path, name: str = "test", trials: int = 12, **search: Any) -> tuple[optuna.Study, Tracking, RunLog]:
    """An empty study in the folder's optuna.db, the store in its mlflow.db, and the study's run there."""
    folder.mkdir(exist_ok=True)
    (folder / "mlflow.db").write_bytes(empty_store())
    store = f"sqlite:///{folder}/mlflow.db"
    asked = experiment(
        folder, store, **{"name": name, "trials": trials, "scheduler": "asha", "grace_images": 100, **search}
    )
    study = optuna.create_study(
        study_name=name, storage=asked.search.storage, directions=["maximize"] * len(asked.search.objectives)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study.set_metric_names(list(asked.search.objectives))
    study.set_user_attr("experiment", asked.model_dump_json())
    tracking = Tracking(store, asked.registry.experiment)
    run = tracking.start_run(name, tags={"visage.kind": "study", "visage.study": name})
    write_faces(asked.data.dir)
    log_faces(run, asked.data)
    study.set_user_attr("run_id", run.run_id)
    return study, tracking, run


@cache
def empty_store() -> bytes:
    """MLflow's database without an experiment of ours; to make its schema takes seconds."""
    from visage.registry.store import open_store

    with tempfile.TemporaryDirectory(prefix="visage-") as folder:
        open_store(f"sqlite:///{folder}/mlflow.db")
        with sqlite3.connect(f"{folder}/mlflow.db") as database, sqlite3.connect(f"{folder}/copy.db") as copy:
            database.backup(copy)
        return Path(folder, "copy.db").read_bytes()


def write_faces(folder: Path) -> None:
    """What a face set says of itself, in its folder."""
    folder.mkdir(exist_ok=True)
    counts = {"people": 24, "pictures": 480, "people_of_parts": {}, "pictures_of_expressions": {}}
    facts = {"name": "drawn-0", "sha256": "0123456789abcdef", "size": 64, "counts": counts, "licence": ""}
    (folder / "set.json").write_text(json.dumps(facts))


def curve_of(score: float, images: int) -> list[tuple[int, float]]:
    """What a trial reached on its way to a score."""
    return [(at, score * (1 - math.exp(-3 * at / images))) for at in range(EVERY, images + 1, EVERY)]


def add(study: optuna.Study, run_id: str, score: float, state: str = "complete", reason: str = "") -> int:
    """One more trial with its ending in the study; returns its number."""
    number = len(study.get_trials(deepcopy=False))
    draw = random.Random(number)
    images = GOAL if state == "complete" else 300
    reached = {
        "score": score,
        "identity_similarity": min(1.0, score + 0.2 * draw.random()),
        "expression_probability": score - 0.2 * draw.random(),
    }
    kept = {"state": state, "reason": reason, "images": images, "time_total_s": 60.0 + number, **reached}
    kept["checkpoint_path"] = f"trial-{number:04d}"
    study.add_trial(
        create_trial(
            state={"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}.get(state, TrialState.FAIL),
            params={"loss.pixel.weight": 10.0 ** (2 * draw.random()), "loss.triplet.margin": 0.1 + 0.8 * draw.random()},
            distributions=RANGES,
            values=[reached.get(name, UNSEEN) for name in study.metric_names or ()] if state == "complete" else None,
            user_attrs={**kept, "run_id": run_id},
        )
    )
    return number


def told(tracking: Tracking, parent: RunLog, name: str, curve: list[tuple[int, float]], faces: bool = True) -> RunLog:
    """A trial's run with its curve and a picture for each of its evaluations."""
    run = tracking.start_run(name, parent.run_id, {"visage.kind": "trial"})
    run.record((images, {"score": value}) for images, value in curve)
    if faces:
        run.add_faces({f"{images:08d}.png": drawn(images, value) for images, value in curve})
    return run


def drawn(images: int, value: float) -> bytes:
    """A sheet in the place of faces, of the size that real ones have at 64 px: the redder, the higher the score."""
    sheet = Sheet(("input", "neutral", "happy", "sad", "true face"), 4, 64)
    for row in range(4):
        sheet.place(row, 0, plain(40 * row, 90, 160))
        sheet.place(row, 4, plain(255, 40 * row, 0))
        for column in range(1, 4):
            red = int(255 * min(1, max(0, value)))
            sheet.made(row, column, plain(red, 40 * row, images % 255), truth=(row, 4) if column == 2 else None)
    return sheet.write(None)


def plain(*colour: int) -> np.ndarray:
    """A face of one colour, uint8 64,64,3."""
    return np.full((64, 64, 3), colour, np.uint8)


def made(folder: Path, scores: list[float], name: str = "test", faces: bool = True, **search: Any) -> optuna.Study:
    """Complete trials with these scores, then a pruned and a failed one, and one that runs."""
    study, tracking, parent = begun(folder, name, len(scores) + 6, **search)
    for score in scores:
        number = len(study.trials)
        run = told(tracking, parent, f"{name}-{number:04d}", curve_of(score, GOAL), faces)
        add(study, run.run_id, score)
        run.finish("complete")
    for state, reason in (
        ("pruned", "stopped at 300 of 900 images"),
        ("failed", "RuntimeError: the disk <b>is</b> full"),
    ):
        run = told(tracking, parent, f"{name}-{state}", curve_of(0.2, GOAL)[:3], faces)
        add(study, run.run_id, 0.2, state, reason)
        run.finish("pruned" if state == "pruned" else "failed")
    running = study.ask(dict(RANGES))
    run = told(tracking, parent, f"{name}-running", curve_of(0.4, GOAL)[:4], faces)
    running.set_user_attr("state", "running")
    running.set_user_attr("run_id", run.run_id)
    return study
