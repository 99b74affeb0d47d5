"""One driver a study: a second one is refused, and one whose place was taken writes nothing more and stops."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna import Study
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from tests.search.fakes import GOAL, experiment, trials
from visage.config import Experiment
from visage.errors import Overtaken, UserError
from visage.search.study import lock as driver
from visage.search.study.records import load_study, open_study
from visage.search.tune import tune

ANOTHER = "elsewhere:7:1"  # the claim of a driver on another machine


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < end, "was not seen in time"
        time.sleep(0.05)


@pytest.fixture(params=["sqlite", "postgresql"])
def asked(request: pytest.FixtureRequest, tmp_path: Path) -> Experiment:
    storage = request.getfixturevalue("postgres") if request.param == "postgresql" else f"sqlite:///{tmp_path}/o.db"
    return experiment(tmp_path, "", name=tmp_path.name, storage=storage)


def study_of(asked: Experiment) -> Study:
    """The study as another process opens it."""
    return load_study(asked.search.name, asked.search.storage)


def cut_connections(address: str) -> None:
    """As a server does that starts anew: its locks go with them."""
    told(address, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datid > 0")


def holders(address: str) -> list[int]:
    """The server's processes that hold a lock of ours."""
    return [pid for (pid,) in told(address, "SELECT pid FROM pg_locks WHERE locktype = 'advisory'")]


def told(address: str, statement: str) -> Sequence[Any]:
    engine = create_engine(address.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        rows = connection.execute(text(statement)).all()
    engine.dispose()
    return rows


@pytest.mark.slow
def test_a_driver_whose_place_was_taken_writes_nothing(asked: Experiment) -> None:
    first = open_study(asked, resume=False)
    with driver.claimed(first, None, shared=False):
        trial = first.ask()
        second = study_of(asked)
        with driver.claimed(second, None, shared=False):
            for write in (
                lambda: first.set_user_attr("outcome", 1),
                lambda: trial.set_user_attr("score", 1),
                lambda: first.tell(trial, [1, 1]),
                first.ask,
            ):
                with pytest.raises(Overtaken, match=rf"^search\.name = {asked.search.name}: process \d+ on .* took"):
                    write()
            second.set_user_attr("whose", "second")
            [kept] = second.get_trials()
            assert (kept.state.name, kept.user_attrs, "outcome" in second.user_attrs) == ("RUNNING", {}, False)
        second.set_user_attr("after", "anybody may")
        with pytest.raises(Overtaken, match="another process took the study over"):  # who has ended since then
            first.set_user_attr("outcome", 1)
    assert "outcome" not in second.user_attrs
    assert not driver.runs_now(second)


def test_the_claim_that_was_taken_stays_when_the_first_driver_ends(asked: Experiment) -> None:
    first = open_study(asked, resume=False)
    with driver.claimed(first, None, shared=False):
        study_of(asked).set_user_attr(driver.CLAIM, ANOTHER)
    assert study_of(asked).user_attrs[driver.CLAIM] == ANOTHER


@pytest.mark.slow
def test_a_second_driver_is_refused_and_told_who_is_the_first(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "NOTICE_SECONDS", 0.3)
    monkeypatch.setattr(driver, "BEAT_SECONDS", 0.1)
    search = experiment(tmp_path, "", name="refused", storage=postgres).search
    with driver.locked(search) as lock:
        with pytest.raises(UserError, match="another process runs this study"), driver.locked(search):
            pass
        study = open_study(experiment(tmp_path, "", name="refused", storage=postgres), resume=False)
        with driver.claimed(study, lock, shared=False):
            with pytest.raises(UserError, match=r"process \d+ on .* runs this study; wait"), driver.locked(search):
                pass
            with driver.locked(search.model_copy(update={"name": "another"})):
                pass
    with driver.locked(search):
        pass


@pytest.mark.slow
def test_a_database_that_starts_anew_gives_the_lock_back_to_its_driver_or_to_whoever_came_first(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "NOTICE_SECONDS", 0.3)
    monkeypatch.setattr(driver, "BEAT_SECONDS", 0.1)
    asked = experiment(tmp_path, "", name="restarted", storage=postgres)
    with driver.locked(asked.search) as lock:
        assert lock
        study = open_study(asked, resume=False)
        with driver.claimed(study, lock, shared=False) as claim:
            assert claim
            before = holders(postgres)
            cut_connections(postgres)
            until(lambda: holders(postgres) not in ([], before))
            with pytest.raises(UserError, match="runs this study"), driver.locked(asked.search):
                pass
            study.set_user_attr("whose", "first")
            assert claim.fault is None
        monkeypatch.setattr(driver, "BEAT_SECONDS", 60)
        with driver.claimed(study, lock, shared=False) as claim:
            assert claim
            cut_connections(postgres)
            with driver.locked(asked.search) as taken, driver.claimed(study_of(asked), taken, shared=False):
                with pytest.raises(SQLAlchemyError):
                    claim.look()  # on the connection that was cut
                with pytest.raises(Overtaken):
                    claim.look()
                with pytest.raises(Overtaken):
                    study.set_user_attr("whose", "first again")


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_a_study_that_another_driver_took_stops_and_leaves_all_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a trial trains, and nothing is to be written."""
    from mlflow import MlflowClient

    monkeypatch.setattr(driver, "BEAT_SECONDS", 0.2)
    asked = experiment(tmp_path, f"sqlite:///{tmp_path}/mlflow.db", trials=3, concurrency=1)

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with (tmp_path / "steps").open("a") as steps:
            steps.write(f"{number} {images}\n")
        if number == 1 and images == 300:
            study_of(asked).set_user_attr("claim", ANOTHER)
        time.sleep(0.3 if number else 0)
        return images / GOAL

    said = r"^search\.name = test: process 7 on elsewhere took the study over .*; then go on with --resume\.$"
    with pytest.raises(UserError, match=said):
        tune(asked, trials=trials(behaviour))
    assert f"1 {GOAL}" not in (tmp_path / "steps").read_text()
    study = study_of(asked)
    assert study.user_attrs["claim"] == ANOTHER
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "RUNNING"]
    client = MlflowClient(asked.registry.tracking_uri)
    for run_id in (study.user_attrs["run_id"], study.trials[1].user_attrs["run_id"]):
        assert client.get_run(run_id).info.status == "RUNNING"  # the other's now


def test_a_bucket_is_left_to_a_driver_that_may_be_alive_until_it_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "NOTICE_SECONDS", 0.5)
    study = open_study(experiment(tmp_path, ""), resume=False)
    for claim, shared, waits in ((ANOTHER, True, True), (ANOTHER, False, False), ("", True, False)):
        study.set_user_attr(driver.CLAIM, claim)
        begun = time.monotonic()
        with driver.claimed(study, None, shared=shared):
            assert study.user_attrs[driver.CLAIM] not in (ANOTHER, "")
            assert (time.monotonic() - begun >= driver.NOTICE_SECONDS) == waits
