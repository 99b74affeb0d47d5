"""A study as MLflow keeps it, with real trainings of seconds: found by tags, repeated from a record, trained on."""

import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.search.fakes import SPACE, trials
from tests.search.fakes import experiment as fake
from visage.config import Experiment
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.choices import Choice
from visage.judging.networks.train import FaceNetworks
from visage.registry.models import Registry
from visage.registry.record import read_record, seen
from visage.search.study.choices import keep
from visage.search.study.records import load_study
from visage.search.trials.trial import training
from visage.search.tune import tune
from visage.training.checkpoint import load, load_generator
from visage.workflows.search import tune_and_publish
from visage.workflows.training import train_and_publish

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
Judged = tuple[FaceSet, FaceNetworks]


def experiment(faces: FaceSet, folder: Path, **search: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"dir": str(faces.dir)},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 32, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8},
            "judge": {"images": 4_000, "bootstrap": 100},
            "search": {"name": "short", "trials": 1, "space": SPACE, "storage": f"sqlite:///{folder}/o.db", **search},
            "registry": {"tracking_uri": f"sqlite:///{folder}/mlflow.db"},
        }
    )


def sha256(checkpoint: Path) -> str:
    from safetensors.torch import save

    return hashlib.sha256(save(load_generator(checkpoint)[0].state_dict())).hexdigest()


def test_endings_are_found_by_a_search_on_the_store(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        if number == 1:
            raise RuntimeError("the disk is full")
        return images / 900 if number == 0 else 0.01

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    asked = fake(tmp_path, uri, trials=3, scheduler="asha", grace_images=300, concurrency=1)
    result = tune(asked, trials=trials(behaviour))
    client = MlflowClient(uri)
    home = [client.get_run(result.run_id).info.experiment_id]

    def found(query: str) -> list[str]:
        return [run.info.run_name for run in client.search_runs(home, query)]

    assert found("tags.visage.state = 'pruned'") == ["test-0002"]
    assert found("tags.visage.state = 'failed' AND tags.visage.study = 'test'") == ["test-0001"]
    assert set(found("tags.visage.state = 'complete'")) == {"test", "test-0000"}
    assert found("tags.visage.kind = 'trial' AND metrics.score > 0.9") == ["test-0000"]
    kept = client.get_run(result.run_id)
    assert kept.data.tags["mlflow.note.content"].startswith("## Trial 0 won")
    assert (kept.data.metrics["trials/pruned"], kept.data.metrics["best/trial"]) == (1, 0)
    assert {item.path for item in client.list_artifacts(result.run_id)} == {"experiment.yaml", "study"}
    assert result.best is not None
    assert read_record(uri, result.best.run_id).experiment.loss.pixel.weight == result.best.params["loss.pixel.weight"]


def dying(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
    """Real trials whose process dies once, after its first checkpoint and before it tells anybody of it."""
    trial = training(experiment, folder)

    def mortal(config: dict[str, Any]) -> None:
        from visage.training.trainer import Trainer

        save = Trainer.save

        def save_and_die(trainer: Trainer, place: Path) -> None:
            save(trainer, place)
            if not (folder / "died").exists():
                (folder / "died").touch()
                os.kill(os.getpid(), signal.SIGKILL)

        Trainer.save = save_and_die  # type: ignore[method-assign]
        trial(config)

    return mortal


def test_a_point_that_was_not_told_before_its_trial_died_is_told_after(judged: Judged, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    asked = experiment(judged[0], tmp_path)
    best = tune(asked, tags=seen(*judged), trials=dying).best
    assert best is not None
    client = MlflowClient(asked.registry.tracking_uri)
    assert client.get_run(best.run_id).data.tags["visage.restarts"] == "1"
    for metric in ("score", "loss/pixel"):
        curve = client.get_metric_history(best.run_id, metric)
        assert {16, 32} <= {point.step for point in curve}, metric


def test_a_trial_is_repeated_from_its_record_to_the_bit(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    asked = experiment(judged[0], tmp_path)
    best = tune(asked, tags=seen(*judged)).best
    assert best is not None
    before = torch.get_num_threads()
    try:
        record = read_record(asked.registry.tracking_uri, best.run_id, [])
        train_and_publish(record.experiment, Path("again"), False, record)
    finally:
        torch.set_num_threads(before)
    assert sha256(tmp_path / "again" / "checkpoint") == sha256(Path(best.checkpoint))
    said = capsys.readouterr().out
    assert "the score is the run's own at all 2 evaluations" in said
    assert f"or:   visage promote visage-ucgan/1 --registry {asked.registry.tracking_uri}" in said

    other = FaceSet.open(judged[0].dir)
    assert other.sha256 == judged[0].sha256
    record = read_record(asked.registry.tracking_uri, best.run_id)
    assert record.tags["visage.data_sha256"] == other.sha256


def test_a_final_training_that_was_cut_off_goes_on(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    monkeypatch.chdir(tmp_path)
    # A study that its budget ended before its last trial goes the same road.
    ends = {"trials": 9, "concurrency": 1, "stop": {"goal": {"score": ">= 0"}}}
    asked = experiment(judged[0], tmp_path, final={"train.images": 800, "train.evaluate_every": 200}, **ends)

    def interrupt() -> None:
        for _ in range(6_000):
            if list(tmp_path.glob("runs/tune/short/final-*/history.jsonl")):
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.05)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(UserError, match=r"cut off; go on with: .*--resume"):
        tune_and_publish(asked, resume=False)
    (folder,) = tmp_path.glob("runs/tune/short/final-*")
    assert load(folder / "checkpoint")["images"] < 800
    choice = Choice(first="1", second="0", better="first", person="both", who="Ann", when="2026")
    keep(load_study("short", asked.search.storage), choice)
    tune_and_publish(asked, resume=True)
    assert load(folder / "checkpoint")["images"] == 800

    client = MlflowClient(asked.registry.tracking_uri)
    study = load_study("short", asked.search.storage)
    home = [client.get_run(study.user_attrs["run_id"]).info.experiment_id]
    (run,) = client.search_runs(home, "tags.visage.kind = 'final'")
    assert (run.data.tags["visage.state"], run.data.tags["visage.trial"]) == ("complete", "0")
    assert "[The study's page](http://127.0.0.1:5050/?study=short&trials=0)" in run.data.tags["mlflow.note.content"]
    assert run.data.tags["mlflow.parentRunId"] == study.user_attrs["run_id"]
    assert study.user_attrs["stopped"].startswith("search.stop.goal")
    assert len(study.trials) < 9
    assert study.user_attrs["outcome"]["run_id"] == run.info.run_id
    said = capsys.readouterr().out
    card = Registry(asked.registry.tracking_uri).fetch("visage-ucgan/1").card  # what was chosen by its end stands in it
    assert card.eyes
    assert (card.eyes.choices, card.eyes.trial) == (1, 0)
    assert "trial 0 found better than trial 1 in 0%" in card.eyes.said[1]
    assert "gate: undecided" in said  # its test people are too few for a verdict
    assert "next: visage promote visage-ucgan/1 --force" in said

    tune_and_publish(asked, resume=True)  # nothing is left to do
    assert "registered as visage-ucgan/1 already" in capsys.readouterr().out
    assert len(Registry(asked.registry.tracking_uri).list()) == 1

    without = asked.model_copy(update={"search": asked.search.model_copy(update={"final": {}})})
    tune_and_publish(without, resume=True)  # the trial's own model
    assert len(Registry(asked.registry.tracking_uri).list()) == 2
