"""What an address must not cost: a folder of one's own, progress that no copy has, a name with a space."""

from dataclasses import replace
from pathlib import Path

import pytest

from visage.config import Experiment, replaced
from visage.config.data import Data
from visage.errors import NotWritten, UserError
from visage.faces.faceset import FaceSet
from visage.faces.shared import opened, upload
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
    experiment: Experiment, judged: Judged, *, resume: bool | None, until: int = 0, away: bool = False
) -> list[int]:
    """The images of the evaluations of a training that Ctrl-C ends at so many images; with `away` no copy is made."""
    folder, points = RunFolder.of(Path("run"), experiment.train), list[int]()

    def report(point: Progress) -> None:
        if point.metrics is not None:
            points.append(point.images)
        if point.images == until:
            raise KeyboardInterrupt

    with folder.lock(resume=resume) as resumed, pytest.MonkeyPatch.context() as patch:
        if away:
            gone = property(lambda self: (_ for _ in ()).throw(OSError("no route to it")))
            patch.setattr(Store, "_place", gone)
        run(experiment, *judged, folder, report, resume=resumed)
    return points


def reached(folder: Path) -> int:
    images: int = checkpoint.load(folder / "checkpoint")["images"]
    return images


def test_what_no_copy_has_is_gone_on_with(experiment: Experiment, judged: Judged, tmp_path: Path) -> None:
    """The bucket was away for the later evaluations and at Ctrl-C, which is still the one sentence."""
    with pytest.raises(KeyboardInterrupt):
        trained(experiment, judged, resume=False, until=16)
    with pytest.raises(KeyboardInterrupt, match=r"kept/run: is away or refuses \(no route to it\)"):
        trained(experiment, judged, resume=True, until=32, away=True)
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


def test_another_folder_is_no_copy_of_the_address(judged: Judged, tmp_path: Path) -> None:
    """As a run's record names an address, and `--from-run RUN --set data.dir=DIR` lays a folder over it."""
    place = f"file://{tmp_path}/there"
    upload(replace(judged[0], address=place))
    recorded = Data.model_validate({"dir": place})
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "photo.jpg").write_bytes(b"the only one")
    laid = Data.model_validate({**recorded.model_dump(), "dir": mine})
    assert laid.address is None
    with pytest.raises(UserError, match=r"mine.*holds no face set|mine.*no face set"):
        opened(laid)
    assert (mine / "photo.jpg").read_bytes() == b"the only one"
    worker = Data.model_validate({**recorded.model_dump(), "dir": recorded.dir.absolute()})
    assert worker.address == place


def test_another_address_takes_the_place_of_the_recorded_one() -> None:
    recorded = Data.model_validate({"dir": "s3://bucket/one"})
    assert Data.model_validate({**recorded.model_dump(), "dir": "s3://bucket/two"}).address == "s3://bucket/two"


@pytest.mark.parametrize("name", ["a b", "Müller", "50%25", "[x]"])
@pytest.mark.parametrize("kind", ["s3", "file"])
def test_any_name_that_a_folder_has_an_address_has(
    kind: str, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "one").write_text("1")
    base = request.getfixturevalue("bucket") if kind == "s3" else f"file://{tmp_path}/kept"
    store = Store(base) / name
    store.push(folder)
    assert store.read("one") == b"1"
    assert store.get(tmp_path / "got")
    if kind == "file":
        assert (tmp_path / "kept" / name / "one").is_file()


def test_half_a_set_is_no_set(judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set takes the place of the one at an address, and the bucket goes away between two files."""
    store = Store(f"file://{tmp_path}/there")
    upload(replace(judged[0], address=store.address))
    (tmp_path / "there" / "set.json").write_text("{}")  # another one
    (tmp_path / "there" / "inner").mkdir()
    (tmp_path / "there" / "inner" / "set.json").write_text("of a set below")
    send, sends = Store._send, []

    def away(self: Store, path: Path, name: str) -> None:
        sends.append(name)
        if len(sends) > 3:
            raise NotWritten("is away.")
        send(self, path, name)

    monkeypatch.setattr(Store, "_send", away)
    with pytest.raises(NotWritten):
        upload(replace(judged[0], address=store.address))
    assert store.read("set.json") is None
    assert store.read("inner/set.json") == b"of a set below"


def test_a_copy_is_of_one_set(judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another set takes the place of the one at an address while it is copied."""
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "there"
    upload(replace(judged[0], address=f"file://{there}"))
    asked = Data.model_validate({"dir": f"file://{there}"})
    get = Store.get

    def replacing(self: Store, folder: Path, **skipped: tuple[str, ...]) -> bool:
        done = get(self, folder, **skipped)
        (there / "set.json").write_text("{}")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Store, "get", replacing)
        with pytest.raises(UserError, match=f"^file://{there}: another set took its place meanwhile; run"):
            opened(asked)
    assert not asked.dir.exists()
    (there / "set.json").write_bytes((judged[0].dir / "set.json").read_bytes())
    assert opened(asked).sha256 == judged[0].sha256


def test_an_ablation_of_other_settings_stays_what_it_is(
    experiment: Experiment, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visage.search.ablation.run._on_ray", lambda *_: None)
    several = Experiment.model_validate({**experiment.model_dump(), "ablation": VARIANTS})

    def ablated(out: Path, path: str, value: object) -> None:
        asked = replaced(several, {path: value})
        ablate(asked, judged[0], judged[1], out, lambda *_: None)

    with pytest.raises(UserError, match="all runs of whole diverged"):
        ablated(Path("mine/weights"), "train.storage", None)
    with pytest.raises(UserError, match="all runs of whole diverged"):
        ablated(Path("theirs/weights"), "train.images", 64)
    before = Path("mine/weights/whole-0/settings.json").read_text()
    with pytest.raises(UserError, match="holds a run of other settings"):
        ablated(Path("mine/weights"), "train.images", 64)
    assert Path("mine/weights/whole-0/settings.json").read_text() == before
