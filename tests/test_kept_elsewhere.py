"""What a run keeps at an address must not cost: progress that no copy has, a record, a folder of one's own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.infra.remote_store import Store
from visage.judging.networks.train import FaceNetworks
from visage.registry.record import check_faces, read_record
from visage.search.ablation.run import ablate
from visage.training import checkpoint
from visage.training.progress import Progress
from visage.training.run import run
from visage.training.run_folder import RunFolder
from visage.workflows.training import train_and_publish

Judged = tuple[FaceSet, FaceNetworks]
VARIANTS = {"seeds": [0], "variants": {"whole": {}, "flat": {"loss.pixel.weight": 0}}}


@pytest.fixture
def experiment(judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.chdir(tmp_path)
    return Experiment.model_validate(
        {
            "data": {"dir": judged[0].dir},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 48, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8}
            | {"storage": f"file://{tmp_path}/kept"},
            "judge": {"images": 4_000, "bootstrap": 100},
            "registry": {"tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"},
        }
    )


def trained(
    experiment: Experiment, judged: Judged, *, resume: bool | None, until: int = 0,
    meanwhile: AbstractContextManager[None] | None = None,
) -> list[int]:  # fmt: skip
    """Train in the folder `run` until Ctrl-C comes at so many images; returned are the images of the evaluations."""
    folder, evaluated = RunFolder.of(Path("run"), experiment.train), list[int]()

    def report(point: Progress) -> None:
        if point.metrics is not None:
            evaluated.append(point.images)
        if point.images == until:
            raise KeyboardInterrupt

    with folder.lock(resume=resume) as resumed, meanwhile or nullcontext():
        run(experiment, *judged, folder, report, resume=resumed)
    return evaluated


@contextmanager
def bucket_away() -> Iterator[None]:
    """No bucket is reached."""

    def refuse(store: Store) -> None:
        raise OSError("no route to it")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "_place", property(refuse))
        yield


def reached(folder: Path) -> int:
    images: int = checkpoint.load(folder / "checkpoint")["images"]
    return images


def test_what_no_copy_has_is_gone_on_with(experiment: Experiment, judged: Judged, tmp_path: Path) -> None:
    """The bucket was away for the later evaluations and at Ctrl-C, which is still the one sentence."""
    with pytest.raises(KeyboardInterrupt):
        trained(experiment, judged, resume=False, until=16)
    with pytest.raises(KeyboardInterrupt, match=r"kept/run: is away or refuses \(no route to it\)"):
        trained(experiment, judged, resume=True, until=32, meanwhile=bucket_away())
    assert (reached(tmp_path / "run"), reached(tmp_path / "kept" / "run")) == (32, 16)
    assert trained(experiment, judged, resume=True) == [16, 32, 48]
    assert reached(tmp_path / "kept" / "run") == 48


def test_a_run_goes_on_where_another_mlflow_is(
    experiment: Experiment, judged: Judged, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a second machine with a database of its own, or after the first one's was deleted."""
    from mlflow import MlflowClient

    with pytest.raises(KeyboardInterrupt):
        trained(experiment, judged, resume=False, until=32)
    (tmp_path / "run" / "run_id").write_text("0" * 32)
    train_and_publish(experiment, Path("run"), True)
    assert f"run {'0' * 32}: is not in sqlite:" in capsys.readouterr().out
    begun = (tmp_path / "run" / "run_id").read_text()
    found = MlflowClient(experiment.registry.tracking_uri).get_run(begun)
    assert found.data.tags["visage.state"] == "complete"


def test_a_run_that_goes_on_with_other_settings_says_so(
    experiment: Experiment, judged: Judged, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Its record stays what it began with, so who repeats it must hear of it too."""

    def cut_off(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("visage.workflows.publish.publish", cut_off)
    short = replaced(experiment, {"train.images": 8, "train.evaluate_every": 8})
    with pytest.raises(UserError, match="cut off"):
        train_and_publish(short, Path("run"), False)
    assert "other settings" not in capsys.readouterr().out
    with pytest.raises(UserError, match="cut off"):
        train_and_publish(replaced(short, {"loss.triplet.margin": 0.5}), Path("run"), True)
    said = " ".join(capsys.readouterr().out.split())
    assert "other settings than it began with: loss.triplet.margin = 0.5, was 1.0" in said
    record = read_record(experiment.registry.tracking_uri, (tmp_path / "run" / "run_id").read_text())
    assert record.experiment.loss.triplet.margin == 1
    assert check_faces(record, *judged) == (
        "that run went on with other settings (loss.triplet.margin = 0.5, was 1.0), and this repeats what it began with"
    )


def test_a_run_whose_notes_cannot_be_written_is_one_sentence_and_ended(
    experiment: Experiment, judged: Judged, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    (tmp_path / "run" / "run_id").mkdir(parents=True)
    with pytest.raises(UserError, match="run_id: cannot be written"):
        train_and_publish(experiment, Path("run"), False)
    client = MlflowClient(experiment.registry.tracking_uri)
    (left,) = client.search_runs([client.get_experiment_by_name(experiment.registry.experiment).experiment_id])
    assert left.info.status == "FAILED"


def test_a_run_that_is_refused_stays_what_it_is(experiment: Experiment, judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(experiment, judged, resume=False, until=16)
    alone = replaced(experiment, {"train.storage": None})
    with pytest.raises(KeyboardInterrupt):
        trained(alone, judged, resume=True, until=24)
    with pytest.raises(UserError, match="holds a run already"):
        trained(experiment, judged, resume=False)
    assert reached(tmp_path / "run") == 24


def test_an_ablation_of_other_settings_stays_what_it_is(
    experiment: Experiment, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder of this machine, and at an address where a folder of the same name has its copy."""
    monkeypatch.setattr("visage.search.ablation.run._on_ray", lambda *_: None)  # no run comes to a result
    whole = Experiment.model_validate({**experiment.model_dump(), "ablation": VARIANTS})
    alone, longer = replaced(whole, {"train.storage": None}), replaced(whole, {"train.images": 64})

    def ablated(asked: Experiment, out: str) -> None:
        ablate(asked, *judged, Path(out), lambda *_: None)

    with pytest.raises(UserError, match="all runs of whole diverged"):
        ablated(alone, "mine/weights")
    with pytest.raises(UserError, match="all runs of whole diverged"):
        ablated(longer, "theirs/weights")
    before = Path("mine/weights/whole-0/settings.json").read_text()
    with pytest.raises(UserError, match="holds a run of other settings"):
        ablated(longer, "mine/weights")
    assert Path("mine/weights/whole-0/settings.json").read_text() == before
