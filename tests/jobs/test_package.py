"""What a job takes along."""

import re
from pathlib import Path

import pytest
from test_cli import ROOT

from jobs.cluster import HOW, WHO, name_for
from jobs.package import runtime_env
from visage.errors import UserError
from visage.workflows.terminal import typed


def test_the_code_and_the_configuration_travel_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("data: {dir: faces}\n")
    (tmp_path / "photograph.png").write_bytes(b"of somebody")
    monkeypatch.setenv("HANDED_ON", "hush")
    with runtime_env(config, ["HANDED_ON"], image=False, command="visage submit tune mine.yaml") as env:
        folder = Path(env["working_dir"])
        assert [path.name for path in folder.iterdir()] == ["mine.yaml"]
        assert (folder / "mine.yaml").read_text() == config.read_text()
        assert env["py_modules"] == [str(ROOT / name) for name in ("platform/visage", "jobs", "serve_app")]
        assert env["env_vars"]["HANDED_ON"] == "hush"
    assert not folder.exists()


def test_with_the_clusters_image_the_code_stays_here(tmp_path: Path) -> None:
    with runtime_env(None, (), image=True, command="visage submit prepare") as env:
        assert env.keys() == {"env_vars"}


def test_a_variable_that_is_not_set_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_HERE", raising=False)
    with (
        pytest.raises(UserError, match="--env NOT_HERE: is not set"),
        runtime_env(None, ["NOT_HERE"], image=True, command=""),
    ):
        pass


def test_a_jobs_next_command_is_the_one_that_submitted_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAGE_TYPED", "visage submit tune mine.yaml --address URL")
    assert typed("--resume") == "visage submit tune mine.yaml --address URL"


def test_a_job_s_name_is_two_words_that_nobody_has_yet() -> None:
    taken = {f"visage-tune-{how}-{who}" for how in HOW for who in WHO} - {"visage-tune-calm-otter"}
    names = {name_for("visage-tune", taken) for _ in range(20)}
    assert all(name not in taken for name in names)
    assert all(re.fullmatch(r"visage-tune-[a-z]+-[a-z]+(-[0-9a-f]{6})?", name) for name in names)
    free = {name_for("visage-tune", ()) for _ in range(50)}
    assert len(free) > 40
    assert all(name.count("-") == 3 for name in free)


def test_a_list_shows_each_job_s_name_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However narrow the terminal: it is what the other commands take."""
    from types import SimpleNamespace

    from visage.cli.jobs import _list
    from visage.workflows.terminal import console

    monkeypatch.setattr(console, "_width", 60)
    name = "visage-tune-synthetic-search-lively-kestrel"
    _list([SimpleNamespace(submission_id=name, status="RUNNING", start_time=1_700_000_000_000, end_time=None)])  # type: ignore[list-item]
    assert name in capsys.readouterr().out
