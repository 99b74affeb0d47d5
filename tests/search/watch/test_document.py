"""What the page of a study is told: made from Optuna's database, with nothing kept beside it."""

import time
from pathlib import Path

import optuna
import pytest

from tests.search.conftest import Server
from tests.search.fakes import experiment
from tests.search.watch.samples import RANGES, add, begun, made
from visage.errors import UserError
from visage.search.strategy import scheduler
from visage.search.study.budget import LEFT, SPENT
from visage.search.study.records import load_study
from visage.search.study.rungs import rungs
from visage.search.watch.looks import FRESH_SECONDS, Look
from visage.search.watch.schema import Study


def read(look: Look) -> Study:
    time.sleep(FRESH_SECONDS)
    return Study.model_validate_json(look.content()[0])


@pytest.mark.slow
def test_what_was_searched_stands_apart_from_what_was_not(watched: tuple[Path, optuna.Study]) -> None:
    found = read(Look("test", f"sqlite:///{watched[0]}/optuna.db"))
    assert [setting.path for setting in found.settings] == list(RANGES)
    assert not found.fixed.keys() & set(RANGES)
    assert found.fixed["loss.triplet.weight"] == "1.0"
    assert len(found.fixed) > 50
    leader, second = sorted(found.trials, key=lambda trial: trial.rank or 99)[:2]
    assert [setting.leader for setting in found.settings] == list(leader.params.values())
    assert [setting.second for setting in found.settings] == list(second.params.values())
    assert sum(setting.importance or 0 for setting in found.settings) == pytest.approx(1)


@pytest.mark.slow
def test_trials_have_their_rank_their_ending_and_the_command_that_repeats_them(
    watched: tuple[Path, optuna.Study],
) -> None:
    folder, study = watched
    found = read(Look("test", f"sqlite:///{folder}/optuna.db"))
    assert found.runs
    assert [trial.number for trial in found.trials] == [1, 3, 2, 0, 4, 5, 6, 7]
    assert [trial.rank for trial in found.trials] == [1, 2, 3, 4, 5, None, None, None]
    assert [trial.state for trial in found.trials[5:]] == ["pruned", "failed", "running"]
    assert found.trials[5].reason == "stopped at 300 of 900 images"
    assert "the disk <b>is</b> full" in found.trials[6].reason
    run = study.trials[1].user_attrs["run_id"]
    assert found.trials[0].repeat == f"visage train --from-run {run} --registry sqlite:///{folder}/mlflow.db"
    assert found.why[0].startswith("Trial 1 has the highest score of the 5 complete trials: 0.6200.")
    assert {trial.number for trial in found.trials if trial.front} == {trial.number for trial in study.best_trials}


@pytest.mark.slow
def test_a_look_reads_again_what_changed_and_has_another_tag_then(tmp_path: Path) -> None:
    study = made(tmp_path, [0.3, 0.4])
    look = Look("test", f"sqlite:///{tmp_path}/optuna.db")
    first, tag = look.content()
    time.sleep(FRESH_SECONDS)
    assert look.content() == (first, tag)
    number = add(study, "a run", 0.9)
    study.set_user_attr(SPENT, {"seconds": 7200.0, "gpu_seconds": 0.0})
    study.set_user_attr(LEFT, "about 3.4 h to go")
    now = read(look)
    assert look.content()[1] != tag
    assert (now.trials[0].number, now.trials[0].rank) == (number, 1)
    assert now.spending == "2.0 h spent, about 3.4 h to go"
    assert not now.runs  # nobody has claimed it


@pytest.mark.slow
def test_a_database_that_is_away_is_one_sentence_and_is_read_when_it_is_back(tmp_path: Path) -> None:
    look = Look("test", f"sqlite:///{tmp_path}/optuna.db")
    with pytest.raises(UserError, match="there is no such study"):
        look.content()
    assert not (tmp_path / "optuna.db").exists()
    made(tmp_path, [0.3])
    assert read(look).counts["complete"] == 1


@pytest.mark.parametrize(
    ("images", "search"),
    [
        (900, {"grace_images": 100, "reduction": 3}),
        (901, {"grace_images": 100, "reduction": 3}),
        (100_000, {"grace_images": 5_000, "reduction": 2}),
        (80_001, {"grace_images": 5_000, "reduction": 4}),
        (900, {"grace_images": 900}),
        (900, {"scheduler": "none", "grace_images": 100}),
    ],
)
def test_rungs_are_where_the_scheduler_stops_trials(tmp_path: Path, images: int, search: dict[str, int]) -> None:
    asked = experiment(tmp_path, "sqlite:///runs/mlflow.db", **{"scheduler": "asha", **search})
    asked = asked.model_copy(update={"train": asked.train.model_copy(update={"images": images})})
    brackets = getattr(scheduler(asked), "_brackets", [])
    assert rungs(asked.search.model_dump(), images) == sorted(rung for each in brackets for rung, _ in each._rungs)


@pytest.mark.slow
def test_a_server_that_goes_is_said_at_once_and_is_read_when_it_is_back(stoppable: Server, tmp_path: Path) -> None:
    study = begun(tmp_path, storage=stoppable.address)[0]
    add(study, "", 0.3)
    look = Look("test", stoppable.address)
    assert read(look).counts["complete"] == 1
    stoppable.stop()
    time.sleep(FRESH_SECONDS)
    before = time.monotonic()
    for _ in range(2):
        with pytest.raises(UserError, match=r"search\.storage = postgresql://visage@127\.0\.0\.1"):
            look.content()
    assert time.monotonic() - before < 30  # a study waits three minutes for its database
    stoppable.start()
    add(load_study("test", stoppable.address), "", 0.4)  # Optuna's own holds on to the connection that is cut
    assert read(look).counts["complete"] == 2
