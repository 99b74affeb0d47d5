"""Population based training in a real Tune, with trials that train nothing."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.fakes import GOAL, experiment
from visage.config import Experiment
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.train import FaceNetworks
from visage.registry.record import read_record
from visage.search.tune import tune
from visage.search_commands import tune_and_publish

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
SPACE = {"loss.triplet.margin": {"uniform": [0.05, 1.0]}, "loss.pixel.weight": {"log_uniform": [1, 200]}}


def adding_up(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
    """Trials whose score is the mean of the margins so far: the state goes from hand to hand with its history."""

    def trial(config: dict[str, Any]) -> None:
        from ray import tune

        given = tune.get_checkpoint()
        margins = json.loads((Path(given.path) / "state.json").read_text()) if given else []
        while len(margins) * 100 < GOAL:
            margins.append([config["number"], config["values"]["loss.triplet.margin"]])
            score = sum(margin for _, margin in margins) * 100 / GOAL
            metrics = dict.fromkeys(("identity_similarity", "expression_probability", "score"), score)
            place = folder / f"{config['number']}.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(margins))
            with tempfile.TemporaryDirectory() as state:
                (Path(state) / "state.json").write_text(json.dumps(margins))
                tune.report(
                    {"images": len(margins) * 100, "losses": {}, "checkpoint_path": str(place), **metrics},
                    checkpoint=tune.Checkpoint.from_directory(state),
                )

    return trial


def test_poor_trials_take_over_good_ones_and_change(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    tracking = f"sqlite:///{tmp_path}/mlflow.db"
    asked = experiment(
        tmp_path, tracking, trials=4, scheduler="pbt", sampler="none", grace_images=200, space=SPACE, seed=1
    )
    result = tune(asked, trials=adding_up)
    assert (result.trials, result.complete) == (4, 4)
    assert not (tmp_path / "optuna.db").exists()
    assert result.best is not None
    histories = {
        number: json.loads((Path(result.best.checkpoint).parent / f"{number}.json").read_text()) for number in range(4)
    }
    assert all(len(history) * 100 == GOAL for history in histories.values())
    taken = [number for number, history in histories.items() if {owner for owner, _ in history} != {number}]
    assert taken  # whoever was poor went on from another's state, under its own number
    assert all(0.05 <= margin <= 1 for history in histories.values() for _, margin in history)
    scores = {number: sum(margin for _, margin in history) * 100 / GOAL for number, history in histories.items()}
    assert result.best.number == max(scores, key=lambda number: scores[number])
    assert result.best.params["loss.triplet.margin"] == histories[result.best.number][-1][1]

    client = MlflowClient(tracking)
    runs = client.search_runs(
        [client.get_run(result.run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{result.run_id}'"
    )
    assert len(runs) == 4
    assert all(run.data.tags["visage.state"] == "complete" for run in runs)
    run = next(run for run in runs if run.data.tags["visage.trial"] == str(taken[0]))
    settings = client.get_metric_history(run.info.run_id, "setting/loss.triplet.margin")
    assert len({point.value for point in settings}) > 1
    with pytest.raises(UserError, match="cannot be resumed"):
        tune(asked, trials=adding_up, resume=True)


def test_a_population_of_real_trainings_becomes_a_model(
    judged: tuple[FaceSet, FaceNetworks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    asked = Experiment.model_validate(
        {
            "data": {"dir": str(judged[0].dir)},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 64, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8},
            "judge": {"images": 4_000, "bootstrap": 100},
            "search": {"name": "herd", "trials": 3, "space": SPACE, "scheduler": "pbt", "sampler": "none"}
            | {"grace_images": 16, "storage": f"sqlite:///{tmp_path}/optuna.db"},
            "registry": {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
    )
    tune_and_publish(asked, resume=False)
    client = MlflowClient(asked.registry.tracking_uri)
    home = [client.get_experiment_by_name("visage").experiment_id]
    (study,) = client.search_runs(home, "tags.visage.kind = 'study'")
    assert study.data.tags["visage.model"] == "visage-ucgan/1"
    assert study.data.tags["visage.verdict"] == "undecided"  # its test people are too few for a verdict
    assert "became visage-ucgan/1" in study.data.tags["mlflow.note.content"]
    assert "from-run" not in study.data.tags["mlflow.note.content"]
    trials = client.search_runs(home, "tags.visage.kind = 'trial'")
    assert [run.data.tags["visage.state"] for run in trials] == ["complete"] * 3
    margins = [client.get_metric_history(run.info.run_id, "setting/loss.triplet.margin") for run in trials]
    assert any(len({point.value for point in curve}) > 1 for curve in margins)  # whoever was poor changed
    for run in trials:
        steps = {point.step for point in client.get_metric_history(run.info.run_id, "score")}
        assert 64 in steps <= {16, 32, 48, 64}  # with another's state it may leave some out
    with pytest.raises(UserError, match=rf"^run {trials[0].info.run_id}: is a trial of a population"):
        read_record(asked.registry.tracking_uri, trials[0].info.run_id)
