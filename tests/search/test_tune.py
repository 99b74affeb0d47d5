"""Studies in a real Tune on real databases, with trials that train nothing."""

import csv
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from tests.search.conftest import INSTALLED
from tests.search.fakes import GOAL, experiment, trials
from visage.config import Experiment
from visage.errors import UserError
from visage.registry.record import read_record
from visage.search.study.records import load_study
from visage.search.tune import tune

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


def rising(number: int, values: dict[str, float], images: int) -> float:
    return images / GOAL * (1 - values["loss.triplet.margin"] / 2)


def study_of(folder: Path, name: str = "test", storage: str | None = None) -> optuna.Study:
    return load_study(name, storage or f"sqlite:///{folder}/optuna.db")


def runs(tracking: str, run_id: str) -> dict[str, Any]:
    """The child runs of a study's run, by the trial's number."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking)
    found = client.search_runs([client.get_run(run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return {run.data.tags["visage.trial"]: run for run in found}


# SQLite has its turn in all other tests.
INSTEAD = [pytest.mark.soak] if Path(INSTALLED).is_dir() else []


@pytest.mark.parametrize("database", [pytest.param("sqlite", marks=INSTEAD), "postgresql"])
def test_all_four_endings_are_told_truthfully(
    tmp_path: Path, tracking: str, database: str, request: pytest.FixtureRequest
) -> None:
    storage = f"sqlite:///{tmp_path}/optuna.db" if database == "sqlite" else request.getfixturevalue("postgres")

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        if number == 1 and images == 300:
            return float("nan")
        if number == 2 and images == 200:
            raise RuntimeError("the disk\nis full")
        if number == 3 and images == 200:
            os._exit(1)
        return images / GOAL if number == 0 else 0.01  # so ASHA stops the fifth

    seen = []
    asked = experiment(
        tmp_path,
        tracking,
        trials=5,
        scheduler="asha",
        grace_images=300,
        concurrency=1,
        storage=storage,
        objectives={"identity_similarity": "max", "expression_probability": "max", "frechet": "min"},
        constraints={"identity": ">= 0.6", "expression_probability": "<= 0.4"},
    )
    result = tune(asked, trials=trials(behaviour), progress=seen.append)
    assert (result.trials, result.complete, result.pruned, result.failed) == (5, 1, 1, 3)
    assert result.best is not None
    assert result.best.number == 0
    assert result.best.score == pytest.approx(1)
    assert result.best.values == pytest.approx({"identity_similarity": 1, "expression_probability": 0, "frechet": 1})
    assert (seen[-1].finished, seen[-1].running, seen[-1].best) == (5, 0, pytest.approx(1))

    complete, diverged, crashed, died, pruned = study_of(tmp_path, storage=storage).trials
    assert [trial.state for trial in (complete, diverged, crashed, died, pruned)] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.FAIL,
        TrialState.PRUNED,
    ]
    assert complete.values == pytest.approx([1, 0, 1])
    assert complete.constraints == pytest.approx({"identity >= 0.6": -0.4, "expression_probability <= 0.4": -0.4})
    assert diverged.user_attrs["state"] == "diverged"
    assert diverged.user_attrs["reason"] == "identity_similarity is nan at 300 images"
    assert crashed.user_attrs["reason"] == "RuntimeError: the disk"
    assert died.user_attrs["reason"].startswith("ActorDiedError")
    assert died.user_attrs["reason"].endswith(", the last of 3 starts")
    assert died.user_attrs["images"] == 100
    assert pruned.values is None
    assert pruned.user_attrs["identity_similarity"] == pytest.approx(0.01)
    assert pruned.user_attrs["expression_probability"] == pytest.approx(0.99)
    assert pruned.user_attrs["frechet"] == pytest.approx(1.99)
    assert pruned.user_attrs["images"] == 300
    assert pruned.user_attrs["identity"] == pytest.approx(0.01)

    logged = runs(tracking, result.run_id)
    states = [logged[str(number)].data.tags["visage.state"] for number in range(5)]
    assert states == ["complete", "diverged", "failed", "failed", "pruned"]
    assert logged["2"].data.tags["visage.reason"] == "RuntimeError: the disk"
    run = logged["0"]
    assert float(run.data.params["loss.pixel.weight"]) == complete.params["loss.pixel.weight"]
    assert read_record(tracking, run.info.run_id).experiment.train.images == GOAL
    assert run.data.metrics["score"] == pytest.approx(1)
    assert run.data.metrics["loss/pixel"] == pytest.approx(1 / GOAL)


def test_the_study_run_holds_figures_and_a_table(tmp_path: Path, tracking: str) -> None:
    from mlflow import MlflowClient

    result = tune(experiment(tmp_path, tracking), trials=trials(rising))
    client = MlflowClient(tracking)
    names = {Path(item.path).name for item in client.list_artifacts(result.run_id, "study")}
    assert names == {"figures.html", "trials.csv"}
    kept = Path(client.download_artifacts(result.run_id, "study/trials.csv")).read_text()
    rows = list(csv.DictReader(kept.splitlines()))
    assert [row["state"] for row in rows] == ["complete"] * 4
    assert {"loss.pixel.weight", "loss.triplet.margin", "score", "run_id"} <= rows[0].keys()
    page = Path(client.download_artifacts(result.run_id, "study/figures.html")).read_text()
    assert 'src="http' not in page
    assert page.count("</script>") > 4


def test_two_studies_on_one_database_do_not_mix(tmp_path: Path, tracking: str) -> None:
    first = tune(experiment(tmp_path, tracking, trials=2, name="first"), trials=trials(rising))
    second = tune(
        experiment(tmp_path, tracking, trials=3, name="second", objectives={"score": "max"}), trials=trials(rising)
    )
    assert (first.trials, second.trials) == (2, 3)
    assert len(study_of(tmp_path, "first").trials) == 2
    assert len(study_of(tmp_path, "second").trials) == 3
    assert first.run_id != second.run_id


def test_resume_extends_and_refuses_what_changed(tmp_path: Path, tracking: str) -> None:
    begun = experiment(tmp_path, tracking, trials=2)
    with pytest.raises(UserError, match="no such study"):
        tune(begun, trials=trials(rising), resume=True)
    first = tune(begun, trials=trials(rising))
    kept = [trial.params for trial in study_of(tmp_path).trials]
    with pytest.raises(UserError, match="--resume"):
        tune(begun, trials=trials(rising))

    older = json.loads(study_of(tmp_path).user_attrs["experiment"])
    del older["optim"]["decay_from"]  # as of a Visage that did not have this setting yet
    study_of(tmp_path).set_user_attr("experiment", json.dumps(older))
    longer = experiment(tmp_path, tracking, trials=4)
    result = tune(longer, trials=trials(rising), resume=True)
    assert (result.trials, result.run_id) == (4, first.run_id)
    assert len(runs(tracking, result.run_id)) == 4
    after = [trial.params for trial in study_of(tmp_path).trials]
    assert after[:2] == kept
    assert len({str(params) for params in after}) == 4

    other = experiment(tmp_path, tracking, space={"loss.triplet.margin": {"uniform": [0.1, 0.2]}})
    with pytest.raises(UserError, match=r"search\.space"):
        tune(other, trials=trials(rising), resume=True)


def test_one_at_a_time_the_seed_decides_the_suggestions(tmp_path: Path, tracking: str) -> None:
    suggested = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        tune(experiment(tmp_path, tracking, trials=5, concurrency=1, seed=seed, name=name), trials=trials(rising))
        suggested.append([trial.params for trial in study_of(tmp_path, name).trials])
    assert suggested[0] == suggested[1]
    assert suggested[0] != suggested[2]


def test_a_study_without_a_success_says_why(tmp_path: Path, tracking: str) -> None:
    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        raise ValueError(f"no luck with {number}")

    with pytest.raises(UserError, match="all 2 trials failed, the first because ValueError: no luck with 0"):
        tune(experiment(tmp_path, tracking, trials=2), trials=trials(behaviour))


def test_constraints_that_nobody_meets_are_said_with_the_nearest(tmp_path: Path, tracking: str) -> None:
    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        return (0.1, 0.4, 0.3)[number]

    asked = experiment(tmp_path, tracking, trials=3, constraints={"identity": ">= 0.6"})
    with pytest.raises(UserError, match=r"none of the 3 .* trial 1, misses identity >= 0\.6 \(it reached 0\.4\)"):
        tune(asked, trials=trials(behaviour))
    # It is the best among the feasible that counts, not the best of all.
    loose = experiment(tmp_path, tracking, trials=3, name="loose", constraints={"identity": "<= 0.35"})
    result = tune(loose, trials=trials(behaviour))
    assert result.best is not None
    assert (result.best.number, result.best.score) == (2, 0.3)


def test_an_earlier_study_gives_the_first_values(tmp_path: Path, tracking: str) -> None:
    tune(experiment(tmp_path, tracking, trials=5, name="earlier"), trials=trials(rising))
    earlier = study_of(tmp_path, "earlier").trials
    first, second = sorted(earlier, key=lambda trial: -trial.user_attrs["score"])[:2]
    margin = second.params["loss.triplet.margin"]
    narrow = {
        "loss.triplet.margin": {"uniform": [0.05, (first.params["loss.triplet.margin"] + margin) / 2]},
        "loss.triplet.weight": {"uniform": [0, 1]},
    }
    said: list[str] = []
    asked = experiment(tmp_path, tracking, trials=8, name="later", space=narrow, warm_start="earlier", concurrency=1)
    tune(asked, trials=trials(rising), say=said.append)
    begun = study_of(tmp_path, "later").trials
    assert begun[0].params["loss.triplet.margin"] == first.params["loss.triplet.margin"]
    assert begun[0].user_attrs["warm_start"] == f"earlier {first.number}"
    assert all("warm_start" not in trial.user_attrs for trial in begun[1:])  # of the second nothing was left
    assert sum("loss.pixel.weight" in sentence and "is not searched here" in sentence for sentence in said) == 2
    assert any(f"loss.triplet.margin = {margin}" in sentence and "outside" in sentence for sentence in said)
    with pytest.raises(UserError, match=r"no such study .*known: earlier, later"):
        tune(experiment(tmp_path, tracking, name="third", warm_start="nowhere"), trials=trials(rising))


def test_what_cannot_run_is_refused_before_anything_is_written(tmp_path: Path, tracking: str) -> None:
    greedy = experiment(tmp_path, tracking)
    greedy = greedy.model_copy(update={"train": greedy.train.model_copy(update={"gpus_per_worker": 1})})
    with pytest.raises(UserError, match="0 GPUs"):
        tune(greedy, trials=trials(rising))
    with pytest.raises(UserError, match=r"search\.space"):
        tune(experiment(tmp_path, tracking, space={}), trials=trials(rising))
    assert not (tmp_path / "optuna.db").exists()


def test_a_pruned_trial_gives_its_place_to_the_next_at_once(tmp_path: Path, tracking: str) -> None:
    """With one slot: in the same process, which keeps what it has loaded, and with the same two CPUs."""
    import ray

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        held = {place: count for place, count in ray.available_resources().items() if place == "CPU" and count}
        with (tmp_path / "steps").open("a") as steps:
            steps.write(json.dumps([number, images, os.getpid(), held]) + "\n")
        return images / GOAL if number == 0 else 0.01

    asked = experiment(tmp_path, tracking, trials=4, scheduler="asha", grace_images=300)
    asked = asked.model_copy(update={"train": asked.train.model_copy(update={"cpus_per_worker": 2})})
    result = tune(asked, trials=trials(behaviour))
    assert (result.complete, result.pruned) == (1, 3)
    steps = [json.loads(line) for line in (tmp_path / "steps").read_text().splitlines()]
    pruned = [[number, images] for number in (1, 2, 3) for images in (100, 200, 300)]
    # A trial may be a step ahead of its driver when it is stopped.
    assert [step[:2] for step in steps if step[0] and step[1] <= 300] == pruned
    assert all(images <= 400 for number, images, *_ in steps if number)
    assert len({process for _, _, process, _ in steps}) == 1
    assert all(held == {} for *_, held in steps)  # nothing is free while a trial runs
    for _ in range(600):
        if ray.available_resources().get("CPU") == 2:
            break
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2


class Slow:
    """Reaches the first process of a study's trials at once, and the others when three trials have ended there."""

    def __init__(self, folder: Path, driver: int) -> None:
        self.folder, self.driver = folder, driver

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, (self.folder, self.driver)


def arrived(folder: Path, driver: int) -> Slow:
    first, own = folder / "first", str(os.getpid())
    if os.getpid() != driver:
        with suppress(FileExistsError), first.open("x") as file:
            file.write(own)
        for _ in range(600):
            if first.read_text() == own or len(list(folder.glob("trial-*"))) > 2:
                break
            time.sleep(0.1)
    return Slow(folder, driver)


def test_a_process_that_is_still_starting_is_kept(tmp_path: Path, tracking: str) -> None:
    """Or it would be thrown away, and another begun, with each trial that ends meanwhile."""
    import ray
    from ray.util.state import list_actors

    slow = Slow(tmp_path, os.getpid())

    def once(experiment: Experiment, folder: Path) -> Callable[[dict[str, Any]], None]:
        def trial(config: dict[str, Any]) -> None:
            from ray.tune import report

            time.sleep(0.5)  # time for Tune to begin what it should not
            (slow.folder / f"trial-{config['number']}").touch()
            names = ("score", "identity_similarity", "expression_probability")
            report({"images": GOAL, "checkpoint_path": str(slow.folder), **dict.fromkeys(names, 0.5)})

        return trial

    def actors() -> int:
        return len(list_actors(ray.get_runtime_context().gcs_address, limit=10_000))

    before = actors()
    result = tune(experiment(tmp_path, tracking, trials=6, concurrency=2), trials=once)
    assert result.complete == 6
    assert actors() - before == 2
