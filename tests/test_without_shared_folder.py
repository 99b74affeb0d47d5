"""Faces, checkpoints and trials on machines that share a bucket and no folder: each part begins on an empty disk."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visage.config import Experiment, replaced
from visage.config.data import Data
from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.faces.prepare import prepare, prepare_if_absent
from visage.faces.shared import opened, upload
from visage.judging.networks import train as judges
from visage.judging.networks.train import FaceNetworks, face_networks, fingerprints
from visage.search.study.records import study_folder
from visage.search.trials.trial import training
from visage.search.tune import tune
from visage.training import checkpoint
from visage.training.progress import Progress
from visage.training.run import run
from visage.training.run_folder import RunFolder
from visage.workflows.search import tune_and_publish
from visage.workflows.training import train_and_publish

pytestmark = pytest.mark.slow

Judged = tuple[FaceSet, FaceNetworks]
Machine = Callable[[str], Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Goes to the empty disk of a machine of that name; what the last one kept is gone."""

    def go(name: str) -> Path:
        here = tmp_path / name
        here.mkdir()
        monkeypatch.chdir(here)
        return here

    return go


@pytest.fixture
def shared(judged: Judged, bucket: str) -> str:
    """The address of the judged faces."""
    upload(replace(judged[0], address=f"{bucket}/faces"))
    return f"{bucket}/faces"


@pytest.fixture
def experiment(shared: str, bucket: str, tmp_path: Path) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"dir": shared},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 48, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8, "storage": f"{bucket}/kept"},
            "judge": {"images": 4_000, "bootstrap": 100},
            "search": {"name": "apart", "trials": 2, "concurrency": 1, "grace_images": 48}
            | {"space": {"loss.pixel.weight": {"log_uniform": [1, 200]}}, "storage": f"sqlite:///{tmp_path}/optuna.db"},
            "registry": {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
    )


def small(bucket: str) -> Data:
    """A face set of seconds at an address."""
    chosen = {"layout": "synthetic", "people": 40, "pictures": 1, "size": 32}
    return Data.model_validate({"dir": f"{bucket}/set", **chosen})


def digest(folder: Path) -> str:
    return hashlib.sha256(b"".join(v.numpy().tobytes() for v in checkpoint.load(folder)["ema"].values())).hexdigest()


def test_a_set_is_made_once_and_copied_by_every_machine(
    bucket: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = small(bucket)
    machine("first")
    with pytest.raises(UserError, match=rf"{bucket}/set: holds no face set"):
        opened(asked)
    made = prepare(asked)
    networks = face_networks(made, judges.Judge(images=1_000))

    def never(*_: object) -> None:
        raise AssertionError("is there already")

    monkeypatch.setattr("visage.faces.prepare.rendered", never)
    monkeypatch.setattr(judges, "_train", never)
    machine("second")
    for there in (prepare(asked), prepare_if_absent(asked), opened(Data.model_validate({"dir": f"{bucket}/set"}))):
        assert there.dir.is_relative_to("runs/data")
        assert np.array_equal(there.faces, made.faces)
        assert face_networks(there, judges.Judge(images=1_000)).sha256 == networks.sha256
    assert fingerprints(there.dir) == fingerprints(Path("../first") / made.dir)
    with pytest.raises(UserError, match="made with people 40 and not 41"):
        prepare(asked.model_copy(update={"people": 41}))


def test_another_set_at_the_address_takes_the_place_of_the_copy(bucket: str, machine: Machine, tmp_path: Path) -> None:
    asked = small(bucket)
    machine("first")
    before = prepare(asked).sha256
    machine("second")
    assert prepare(asked).sha256 == before
    machine("third")
    other = prepare(Data.model_validate({**asked.model_dump(), "dir": tmp_path / "other", "address": None, "seed": 3}))
    upload(replace(other, address=asked.address))
    assert opened(asked).sha256 == other.sha256 != before


def test_a_run_goes_on_on_another_machine(judged: Judged, experiment: Experiment, machine: Machine) -> None:
    out = Path("runs/train/one")

    def trained(resume: bool | None, report: Callable[[Progress], object]) -> Progress:
        faces, folder = opened(experiment.data), RunFolder.of(out, experiment.train)
        with folder.lock(resume=resume) as resumed:
            return run(experiment, faces, judged[1], folder, report, resume=resumed)  # type: ignore[arg-type]

    def cut(point: Progress) -> None:
        if point.images == 24:  # between two evaluations
            raise KeyboardInterrupt

    first = machine("first")
    with pytest.raises(KeyboardInterrupt):
        trained(False, cut)
    second = machine("second")
    with pytest.raises(UserError, match="holds a run already; add --resume"):
        trained(False, cut)
    points = list[Progress]()
    assert trained(None, points.append).images == 48
    assert [point.images for point in points if point.metrics is not None] == [16, 32, 48]
    assert checkpoint.load(first / out / "checkpoint")["images"] == 24

    whole = replaced(experiment, {"train.storage": None})
    run(whole, opened(whole.data), judged[1], RunFolder(Path("whole")), lambda point: None)
    assert digest(second / out / "checkpoint") == digest(Path("whole/checkpoint"))
    journal = (out / "history.jsonl").read_text().splitlines()
    assert [Progress.from_json(line).images for line in journal if '"metrics": {' in line] == [16, 32, 48]


def full(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
    """Real trials; the second one's disk is full once, between two evaluations."""
    trial = training(experiment, folder)
    mark = folder.parents[1] / "was-full"

    def filled(config: dict[str, Any]) -> None:
        from visage.training.trainer import Trainer

        step = Trainer.step

        def refused(trainer: Trainer, *arguments: Any, **named: Any) -> Any:
            if config["number"] == 1 and trainer.images == 40 and not mark.exists():
                mark.touch()
                raise NotWritten("the disk is full; make room.")
            return step(trainer, *arguments, **named)

        Trainer.step = refused  # type: ignore[method-assign]
        trial(config)

    return filled


@pytest.mark.ray
def test_a_study_goes_on_on_another_machine(local_ray: None, experiment: Experiment, machine: Machine) -> None:
    from mlflow import MlflowClient

    machine("first")
    with pytest.raises(UserError, match=r"the disk is full; make room; then go on with --resume\.$"):
        tune(experiment, trials=full)
    shutil.rmtree(study_folder(experiment))
    machine("second")
    tune_and_publish(experiment, resume=True)

    client = MlflowClient(experiment.registry.tracking_uri)
    home = [client.get_experiment_by_name("visage").experiment_id]
    runs = client.search_runs(home, "tags.visage.kind = 'trial'")
    assert [run.data.tags["visage.state"] for run in runs] == ["complete"] * 2
    for found in runs:
        curve = client.get_metric_history(found.info.run_id, "score")
        assert [point.step for point in curve] == [16, 32, 48]
        pictures = {item.path for item in client.list_artifacts(found.info.run_id, "faces")}
        assert pictures == {f"faces/{images:08d}.png" for images in (16, 32, 48)}
        losses = client.get_metric_history(found.info.run_id, "loss/pixel")
        assert len({point.step for point in losses}) == len(losses)  # no image was trained twice and told
    (study,) = client.search_runs(home, "tags.visage.kind = 'study'")
    assert study.data.tags["visage.model"] == "visage-ucgan/1"


@pytest.mark.ray
@pytest.mark.soak
def test_two_workers_go_on_on_another_machine(
    local_ray: None, judged: Judged, experiment: Experiment, machine: Machine
) -> None:
    out, two = Path("runs/train/two"), replaced(experiment, {"train.workers": 2, "train.images": 32})
    for name, images, expected in (("first", 32, [16, 32]), ("second", 48, [16, 32, 48])):
        machine(name)
        asked = replaced(two, {"train.images": images})
        points = list[Progress]()
        folder = RunFolder.of(out, asked.train)
        with folder.lock(resume=None) as resumed:
            last = run(asked, opened(asked.data), judged[1], folder, points.append, resume=resumed)
        assert [point.images for point in points] == expected
    assert last.checkpoint
    assert checkpoint.load(last.checkpoint)["images"] == 48


@pytest.mark.ray
@pytest.mark.soak
def test_trials_of_several_workers_leave_a_model_in_the_bucket(
    local_ray: None, experiment: Experiment, machine: Machine
) -> None:
    machine("only")
    asked = replaced(experiment, {"train.workers": 2, "search.trials": 2})
    tune_and_publish(asked, resume=False)
    shutil.rmtree(study_folder(asked))
    train_and_publish(replaced(asked, {"train.workers": 1}), Path("runs/train/after"), None)
