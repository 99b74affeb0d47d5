"""What stands beside a study on its page: faces, what a seed moves, and the way from faces to answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import optuna
import pytest
from fastapi import FastAPI
from scipy import stats
from servers import running

from tests.search.watch.samples import GOAL, made
from tests.serve_app.samples import make_bundle
from visage.config import Experiment
from visage.errors import UserError
from visage.registry.datasets import log_faces
from visage.registry.models import CHAMPION, Registry
from visage.registry.tracking import Tracking
from visage.search.watch.lineage import ENDPOINT, PAGES
from visage.search.watch.looks import Studies
from visage.search.watch.seeds import reach_of

pytestmark = pytest.mark.slow


def test_faces_are_those_of_the_trials_at_their_images(ask: Callable[..., httpx.Response]) -> None:
    found = ask("pictures?name=test&trials=1,5,7,99,x,-1,").json()["pictures"]
    assert found == {"1": list(range(100, 1000, 100)), "5": [100, 200, 300], "7": [100, 200, 300, 400]}
    picture = ask("face?name=test&trial=1&images=300")
    assert picture.headers["Content-Type"] == "image/png"
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert picture.content.startswith(b"\x89PNG")
    assert picture.content != ask("face?name=test&trial=1&images=400").content
    for wrong in ("trial=1&images=301", "trial=99&images=300"):
        refused = ask(f"face?name=test&{wrong}")
        assert refused.status_code == 503
        assert refused.json()["fault"]
    assert ask("face?name=test&trial=1&images=../secret").status_code == 422


def test_what_is_no_picture_is_not_shown_as_one(tmp_path: Path) -> None:
    study = made(tmp_path, [0.3])
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage")
    tracking.run(study.trials[0].user_attrs["run_id"]).add_faces({"00000950.png": b"<script>alert(1)</script>"})
    studies = Studies(f"sqlite:///{tmp_path}/optuna.db")
    assert studies.look("test").face(0, 900)
    with pytest.raises(UserError, match="is no PNG"):
        studies.look("test").face(0, 950)


def again(tracking: Tracking, trial: optuna.trial.FrozenTrial, seed: int, score: float, **other: Any) -> None:
    """A trial trained once more, as `visage train --from-run` records it."""
    params = {**trial.params, "train.seed": seed, "train.images": GOAL, **other.pop("params", {})}
    tags = {"visage.kind": "train", "visage.repeats": trial.user_attrs["run_id"]}
    run = tracking.start_run("again", tags=tags, params=params)
    run.log({"score": score}, GOAL)
    run.finish(other.pop("state", "complete"))


def test_the_lead_stands_beside_what_a_seed_moves(tmp_path: Path) -> None:
    study = made(tmp_path, [0.50, 0.53], faces=False)
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage")
    studies = Studies(f"sqlite:///{tmp_path}/optuna.db")
    none = studies.look("test").seeds()
    assert none.reach is None
    assert none.command.endswith("--set train.seed=1")
    assert study.trials[1].user_attrs["run_id"] in none.command
    again(tracking, study.trials[1], 1, 0.55)
    again(tracking, study.trials[1], 0, 0.99)  # the same seed says nothing of seeds
    again(tracking, study.trials[1], 2, 0.99, state="diverged")
    again(tracking, study.trials[1], 3, 0.99, params={"train.images": 10 * GOAL})
    again(tracking, study.trials[0], 4, 0.99, params={"loss.triplet.margin": 0.123})
    again(tracking, study.trials[0], 1, 0.49)
    found = studies.look("test").seeds()
    # Two settings, two seeds each: variances 0.0002 and 0.00005, the interval of a difference by Student's t.
    expected = stats.t.ppf(0.975, 2) * (2 * (0.0002 + 0.00005) / 2) ** 0.5
    assert found.reach == pytest.approx(expected)
    assert "of 4 trainings of 2 settings" in found.said
    assert "The lead of 0.0300 is no more than that" in found.said


def test_seeds_of_an_ablation_on_the_same_faces_count_and_of_others_do_not(tmp_path: Path) -> None:
    study = made(tmp_path, [0.2, 0.53], faces=False)
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage")
    data = Experiment.model_validate_json(study.user_attrs["experiment"]).data
    parent = tracking.start_run("parts", tags={"visage.kind": "ablation"})
    for variant, scores, seen in (("base", (0.51, 0.52, 0.53), True), ("other faces", (0.1, 0.9), False)):
        for seed, score in enumerate(scores):
            tags = {"visage.kind": "ablation run", "visage.variant": variant}
            run = tracking.start_run(f"{variant}, {seed}", parent.run_id, tags, {"train.seed": seed})
            if seen:
                log_faces(run, data)
            run.log({"score": score}, GOAL)
    found = Studies(f"sqlite:///{tmp_path}/optuna.db").look("test").seeds()
    assert found.reach == pytest.approx(reach_of([[0.51, 0.52, 0.53]]))
    assert "The lead of 0.3300 is more than that." in found.said


def test_lineage_leads_from_the_faces_to_what_answers_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = made(tmp_path, [0.5], faces=False)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_id = study.trials[0].user_attrs["run_id"]
    app = FastAPI()
    answer = {"name": "visage-ucgan", "version": 1, "alias": "champion", "run_id": run_id, "expressions": ["happy"],
              "image_size": 64, "loaded_at": "2026-01-31T09:30:00+00:00"}  # fmt: skip
    app.get("/v1/model")(lambda: answer)
    with running(app) as url:
        monkeypatch.setenv(ENDPOINT, url)
        studies = Studies(f"sqlite:///{tmp_path}/optuna.db")
        faces, run, version, champion, answers = studies.look("test").lineage().stations
        assert (faces.name, faces.detail) == (
            "drawn-0",
            "24 people, 480 pictures, 64 pixels a side; sha256 0123456789ab",
        )
        assert (run.name, run_id in run.detail, run.link) == ("test-0000", True, "")
        assert (version.name, champion.name) == ("none yet", "none yet")
        assert (answers.name, answers.detail[:13]) == ("visage-ucgan/1", "another model")
        make_bundle(tmp_path / "bundle")
        registry = Registry(uri)
        number = registry.register(tmp_path / "bundle", run_id)
        registry.client.set_registered_model_alias("visage-ucgan", CHAMPION, str(number))
        outcome = {"trial": 0, "model": "visage-ucgan/1", "run_id": run_id, "alias": "champion", "decision": "promote"}
        study.set_user_attr("outcome", {**outcome, "reasons": []})
        faces, run, version, champion, answers = Studies(studies.storage).look("test").lineage().stations
        assert (version.name, version.detail) == ("visage-ucgan/1", "the gate's verdict: promote")
        assert (champion.name, champion.detail) == ("visage-ucgan/1", "this study's")
        assert answers.detail.startswith("this study's model")
    monkeypatch.setenv(PAGES, "http://localhost:5000")
    link = Studies(studies.storage).look("test").lineage().stations[1].link
    assert link == f"http://localhost:5000/#/experiments/1/runs/{run_id}"
    gone = Studies(studies.storage).look("test").lineage().stations[-1]
    assert gone.name == "not known"
    assert "cannot be reached" in gone.detail
