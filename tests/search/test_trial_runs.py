"""A trial's run in MLflow, as an outbox tells it."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faces.sets import dozen
from visage.config.data import Data
from visage.errors import UserError
from visage.registry.tracking import Tracking
from visage.search.trial_runs import Evaluation, Letter, TrialRuns

RESULT = {"images": 900, "score": 0.5, "losses": {"pixel": 0.1, "triplet": float("nan")}}


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage")


def runs_of(tracking: Tracking, faces: str = "none") -> TrialRuns:
    parent = tracking.start_run("test").run_id
    return TrialRuns(tracking, "test", parent, "visage study test", {}, lambda key, run_id: None, Data(dir=Path(faces)))


def ended(place: str = "") -> Letter:
    result = RESULT | ({"faces": [place]} if place else {})
    return Letter(params={"loss.pixel.weight": 3.5}, evaluations=[Evaluation.of(result)], state="complete")


def test_a_trial_that_ended_meanwhile_is_three_calls(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, calls = runs_of(tracking), Counter[str]()
    for name in ("create_run", "log_batch", "set_terminated", "set_tag", "search_runs", "get_run", "log_artifact"):
        original = getattr(tracking.client, name)

        def counted(*given: Any, name: str = name, original: Any = original, **named: Any) -> Any:
            calls[name] += 1
            return original(*given, **named)

        monkeypatch.setattr(tracking.client, name, counted)
    runs.send(0, ended())
    assert calls == {"create_run": 1, "log_batch": 1, "set_terminated": 1}
    (run_id, state) = tracking.children(runs.parent, "visage.trial")["0"]
    assert state == "complete"
    kept = tracking.client.get_run(run_id)
    assert kept.data.params == {"loss.pixel.weight": "3.5"}
    assert kept.data.metrics == {"score": 0.5, "loss/pixel": 0.1}
    assert kept.data.tags["mlflow.note.content"].startswith("Trial 0, complete.")


def test_a_trial_s_run_leads_to_the_study_s_page_while_it_runs_and_after(tracking: Tracking) -> None:
    runs, link = runs_of(tracking), "[The study's page](http://127.0.0.1:5050/?study=test&trials=7)"
    runs.send(7, Letter(params={"loss.pixel.weight": 3.5}))
    tags = tracking.client.get_run(runs.runs[7].run_id).data.tags
    assert tags["mlflow.note.content"] == f"{link}, while `visage study test --web` runs."
    runs.send(7, ended())
    (run_id, _) = tracking.children(runs.parent, "visage.trial")["7"]
    assert link in tracking.client.get_run(run_id).data.tags["mlflow.note.content"]


def test_a_trial_s_run_says_which_faces_it_sees(tracking: Tracking, tmp_path: Path) -> None:
    runs = runs_of(tracking, str(dozen(tmp_path / "faces").dir))
    runs.send(3, ended())
    (found,) = tracking.client.search_runs([tracking.experiment_id], "dataset.name = 'a dozen'")
    assert found.data.tags["visage.trial"] == "3"
    assert len(found.inputs.dataset_inputs) == 1


def test_a_picture_that_cannot_be_had_keeps_the_curve_and_the_ending_waits(tracking: Tracking, tmp_path: Path) -> None:
    runs, letter = runs_of(tracking), ended(f"file://{tmp_path}/bucket/00000900.png")
    with pytest.raises(UserError, match="is not there"):
        runs.send(0, letter)
    assert tracking.children(runs.parent, "visage.trial")["0"][1] == ""
    assert tracking.history(runs.runs[0].run_id, "score") == [(900, 0.5)]
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "00000900.png").write_bytes(b"a picture")
    runs.send(0, letter)
    (run_id, state) = tracking.children(runs.parent, "visage.trial")["0"]
    assert state == "complete"
    assert tracking.run(run_id).faces() == {"00000900.png"}
    assert tracking.history(run_id, "score") == [(900, 0.5)]


def test_a_start_that_was_not_answered_makes_one_run(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException

    runs, create = runs_of(tracking), tracking.client.create_run

    def lost(*given: Any, **named: Any) -> None:
        create(*given, **named)
        raise MlflowException("no route to the server")

    letter = ended()
    monkeypatch.setattr(tracking.client, "create_run", lost)
    with pytest.raises(UserError, match="no route"):
        runs.send(0, letter)
    monkeypatch.undo()
    runs.send(0, letter)
    query = f"tags.`mlflow.parentRunId` = '{runs.parent}'"
    assert len(tracking.client.search_runs([tracking.experiment_id], query)) == 1
