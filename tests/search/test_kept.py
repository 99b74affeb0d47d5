"""Checkpoints of a study: whose are kept, and what becomes of the others on a disk and in a bucket."""

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import create_trial

from tests.search.fakes import GOAL, experiment, trials
from tests.search.test_summary import made, printed
from visage.config import Experiment, replaced
from visage.config.aims import Constraint
from visage.errors import UserError
from visage.infra.remote_store import Store, local
from visage.search.checkpoint_keeper import CheckpointKeeper
from visage.search.optuna_recorder import OptunaRecorder, StudySearch
from visage.search.report.markdown import note
from visage.search.report.mlflow_run import write_record
from visage.search.study.endings import HALTED
from visage.search.study.kept import Kept, kept_of
from visage.search.study.records import find_study, load_study, open_study
from visage.search.study.summary import summarise
from visage.search.tune import tune
from visage.training.checkpoint import load
from visage.training.discard import discard, sizes
from visage.training.run_folder import RunFolder
from visage.workflows.search import prune_study

VALUES = st.integers(0, 6).map(lambda value: value / 6)


def trained(folder: Path, bytes: int = 1000) -> str:
    """The folder of a run as its training leaves it; where its checkpoint is."""
    for name in ("checkpoint/state.pt", "faces/00000900.png", "history.jsonl"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"0" * bytes)
    return str(folder / "checkpoint")


def left(study: Path) -> set[str]:
    return {file.parts[-3] for file in study.glob("*/checkpoint/state.pt")}


@given(
    reached=st.lists(st.tuples(VALUES, VALUES, VALUES), max_size=12),
    most=st.integers(1, 4),
    constrained=st.booleans(),
)
def test_the_best_and_the_front_are_kept(reached: list[tuple[float, ...]], most: int, constrained: bool) -> None:
    """One trial after another as all of them at once, with the front that Optuna finds."""
    rules = [Constraint.read("identity", ">= 0.5")] if constrained else []
    kept = Kept(most, {"identity": "max", "frechet": "min"}, rules)
    study = optuna.create_study(directions=["maximize", "minimize"])
    gone: list[int] = []
    for number, (identity, frechet, score) in enumerate(reached):
        constraints = {str(rule): rule.violation(identity) for rule in rules}
        study.add_trial(create_trial(values=[identity, frechet], constraints=constraints))
        gone += kept.add(number, {"identity": identity, "frechet": frechet, "score": score})
    order = sorted(range(len(reached)), key=lambda n: (constrained and reached[n][0] < 0.5, -reached[n][2], n))
    assert set(kept.numbers) == {*order[:most], *(trial.number for trial in study.best_trials)}
    assert sorted([*gone, *kept.numbers]) == list(range(len(reached)))


@pytest.fixture(params=["path", "file", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a trial's checkpoint is, with what Ray Train left beside it."""
    here = tmp_path / "study" / "trial-0007"
    trained(here)
    (here / "ray" / "run").mkdir(parents=True)
    (here / "ray" / "run" / "state.pt").write_bytes(b"0" * 500)
    if request.param == "path":
        yield str(here / "checkpoint")
        return
    address = f"file://{tmp_path}/bucket" if request.param == "file" else request.getfixturevalue("bucket")
    (Store(address) / "study/trial-0007").push(here)
    yield f"{address}/study/trial-0007/checkpoint"


def test_a_removed_checkpoint_says_why_and_the_rest_of_its_trial_stays(place: str, tmp_path: Path) -> None:
    trial, other = place.rpartition("/")[0], place.replace("0007", "0008")
    assert sizes([place, other]) == {place: 1500}
    discard(place, f"{place}: was removed, as a test asked for it; train it again.")
    assert sizes([place, other]) == {}
    with pytest.raises(UserError, match=r"trial-0007/checkpoint: was removed, as a test asked for it"):
        load(local(place, tmp_path / "copy"))
    whole = local(trial, tmp_path / "trial")
    files = {file.relative_to(whole).as_posix() for file in whole.rglob("*") if file.is_file()}
    assert files == {"checkpoint/removed.txt", "faces/00000900.png", "history.jsonl"}
    discard(place, "again")


def test_nothing_else_is_ever_removed(tmp_path: Path) -> None:
    """Whatever a database says."""
    for name in ("trial-0001", "mine/checkpoint", "checkpoint", "trial-0001/checkpoint/old", "ray"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "state.pt").touch()
        place = str(tmp_path / name)
        assert sizes([place]) == {}
        discard(place, "gone")
    assert len(list(tmp_path.rglob("state.pt"))) == 5
    assert not list(tmp_path.rglob("removed.txt"))


def test_a_trial_that_still_writes_is_not_disturbed(tmp_path: Path) -> None:
    from visage.training.checkpoint import save

    place = trained(tmp_path / "trial-0000")
    discard(place, "gone")
    save(Path(place), {"images": 8})
    assert load(Path(place))["images"] == 8


def test_a_copy_frees_the_disk_only_of_what_it_holds(tmp_path: Path) -> None:
    trained(tmp_path / "trial")
    RunFolder(tmp_path / "trial").release()  # no copy
    folder = RunFolder(tmp_path / "trial", Store(f"file://{tmp_path}/bucket"))
    folder.release()  # not yet copied
    assert folder.resumable()
    folder.upload()
    (folder.checkpoint / "state.pt").write_bytes(b"newer")
    folder.release()
    assert folder.resumable()
    folder.upload()
    folder.release()
    assert not folder.resumable()
    folder.sync()
    assert (folder.checkpoint / "state.pt").read_bytes() == b"newer"


class Part:
    """A part of a study, told as Tune tells it."""

    def __init__(self, asked: Experiment, at_once: int = 1, free: int = 10**12) -> None:
        self.folder = Path(asked.search.storage.removeprefix("sqlite:///")).parent / "studies"
        study = open_study(asked, resume=False)
        recorder = OptunaRecorder(study, asked.search, GOAL)
        self.search = StudySearch(recorder)
        self.keeper = CheckpointKeeper(recorder, asked.search, at_once, free=lambda path: free)

    def begun(self, name: str) -> Any:
        config = self.search.suggest(name)
        assert config
        place = trained(self.folder / f"trial-{config['number']:04d}")
        result = {"images": 300, "checkpoint_path": place}
        self.keeper.on_trial_result(0, [], SimpleNamespace(config=config), result)
        return SimpleNamespace(trial_id=name, config=config, last_result=result)

    def ended(self, trial: Any, score: float | None = None, **more: Any) -> None:
        reached = {"score": score, "identity_similarity": score, "expression_probability": score, "images": GOAL}
        trial.last_result |= (reached if score is not None else {}) | more
        self.search.on_trial_complete(trial.trial_id, trial.last_result)
        self.keeper.on_trial_complete(0, [], trial)


def test_checkpoints_go_as_the_study_goes_and_never_one_that_goes_on(tmp_path: Path) -> None:
    part = Part(experiment(tmp_path, "", trials=10, keep_checkpoints=2))
    for score in (0.3, 0.5, 0.4):
        part.ended(part.begun(str(score)), score)
    running, halted = part.begun("running"), part.begun("halted")
    part.ended(halted, **{HALTED: "the disk is full"})
    part.ended(part.begun("pruned"))
    part.ended(part.begun("also pruned"))
    part.keeper.pool.submit(lambda: None).result()  # the removals before it are through
    assert part.keeper.recorder.fault is None
    assert left(part.folder) == {f"trial-000{number}" for number in (1, 2, 3, 4, 6)}  # the last one waits
    part.keeper.close()
    part.keeper.remove_rest()
    assert left(part.folder) == {f"trial-000{number}" for number in (1, 2, 3, 4)}
    with pytest.raises(UserError, match=r"trial-0005/checkpoint: was removed, as the study test keeps .*--from-run"):
        load(part.folder / "trial-0005" / "checkpoint")
    del running


@pytest.mark.slow
def test_a_disk_that_is_too_small_is_said_before_it_is_full(tmp_path: Path) -> None:
    """Five to keep, two at work, two that wait to be removed, and two that are written beside the ones before them."""
    part = Part(experiment(tmp_path, "", trials=100), at_once=2, free=10_000)
    part.begun("first")
    assert part.keeper.recorder.fault is None
    part = Part(experiment(tmp_path / "small", "", trials=100), at_once=2, free=9_999)
    part.begun("first")
    said = str(part.keeper.recorder.fault)
    assert said.startswith("search.keep_checkpoints = 5: up to 10 more checkpoints of 1e-06 GB are to come, and ")
    assert f"{part.folder} has 1e-05 GB left; keep fewer, run fewer trials at once (search.concurrency), or" in said
    few = Part(experiment(tmp_path / "few", "", trials=2), at_once=2, free=2_999)
    few.ended(few.begun("first"), 0.5)
    assert "up to 3 more checkpoints" in str(few.keeper.recorder.fault)  # the second trial's, and a new one of each
    last = Part(experiment(tmp_path / "last", "", trials=2), at_once=2, free=3_000)
    last.ended(last.begun("first"), 0.5)
    last.begun("second")
    assert last.keeper.recorder.fault is None


def test_an_old_study_is_pruned_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = made(tmp_path, [])
    bucket = Store(f"file://{tmp_path}/bucket/studies/test/run")
    for number, score in enumerate((0.1, 0.7, 0.3, 0.6, 0.2, 0.5, 0.4), start=2):
        place = trained(tmp_path / "studies" / f"trial-{number:04d}")
        if number == 2:  # this one was trained when the study had a bucket
            (bucket / "trial-0002").push(tmp_path / "studies" / "trial-0002")
            place = f"{bucket.address}/trial-0002/checkpoint"
        reached = {"score": score, "identity_similarity": score, "expression_probability": score}
        kept = {"state": "complete", "reason": "", "checkpoint_path": place, **reached}
        study.add_trial(create_trial(values=[score, score], user_attrs=kept))
    study.ask().set_user_attr("checkpoint_path", trained(tmp_path / "studies" / "trial-0009"))  # it goes on
    storage = f"sqlite:///{tmp_path}/optuna.db"
    prune_study("test", storage)
    said = " ".join(capsys.readouterr().out.split())
    assert said == (
        "study test: removed 2 checkpoints, 2e-06 GB; kept are those of trials 3, 4, 5, 7, 8, and of those that go on "
        f"next: visage study test --storage {storage}"
    )
    assert left(tmp_path / "studies") == {f"trial-000{number}" for number in (2, 3, 4, 5, 7, 8, 9)}
    assert left(tmp_path / "bucket" / "studies" / "test" / "run") == set()
    prune_study("test", storage)
    assert "removed 0 checkpoints" in capsys.readouterr().out


def test_what_is_told_of_a_study_names_whose_are_kept(tmp_path: Path) -> None:
    study = made(tmp_path, [0.2, 0.6, 0.5], objectives={"score": "max"})
    assert "checkpoints are kept" not in printed(summarise(study))
    study.set_user_attr("keep_checkpoints", 2)
    for shown in (printed(summarise(study), width=200), note(summarise(study))):
        assert "heckpoints are kept of trials 1, 2 (search.keep_checkpoints" in shown
    for number in (0, 1):
        kept = {"state": "complete", "reason": "", "score": number, "checkpoint_path": f"/at/{number}"}
        study.add_trial(create_trial(values=[float(number)], user_attrs=kept))
    write_record(study, tmp_path)
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["checkpoint_path"] for row in rows][-2:] == ["", "/at/1"]


def test_another_number_to_keep_does_not_make_it_another_study(tmp_path: Path) -> None:
    open_study(experiment(tmp_path, "", keep_checkpoints=1), resume=False).ask()
    assert find_study(experiment(tmp_path, "", keep_checkpoints=9), resume=True)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_study_leaves_the_checkpoints_of_its_best_trials_alone(tmp_path: Path) -> None:
    """In its folder, then with a bucket, where the machine that trained keeps none."""

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        return 0.01 if number in (1, 4) else images / GOAL * (0.5 + number / 10)  # those two are stopped early

    asked = experiment(
        tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=6, concurrency=1, scheduler="asha", grace_images=300,
        keep_checkpoints=2, objectives={"score": "max"},
    )  # fmt: skip
    result = tune(asked, trials=trials(behaviour))
    assert (result.complete, result.pruned) == (4, 2)
    assert left(tmp_path / "studies" / "test") == {"trial-0003", "trial-0005"}
    assert result.best
    assert (Path(result.best.checkpoint) / "state.pt").read_text() == str(GOAL)

    far = replaced(asked, {"search.name": "far", "train.storage": f"file://{tmp_path}/bucket"})
    result = tune(far, trials=trials(behaviour))
    assert result.best
    (place,) = (tmp_path / "bucket" / "studies" / "far").iterdir()
    assert left(place) == {"trial-0003", "trial-0005"}
    assert left(tmp_path / "studies" / "far") == set()
    assert kept_of(load_study("far", asked.search.storage), 2).numbers == [3, 5]
