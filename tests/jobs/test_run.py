"""A command as a job in the folder that all nodes see."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import ROOT, assert_one_sentence

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("there", [True, False])
def test_a_job_works_in_the_shared_folder(tmp_path: Path, there: bool) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.yaml").write_text(
        "data: {dir: runs/faces}\nregistry: {tracking_uri: 'sqlite:///m.db'}\n"
    )
    home = tmp_path / "shared"
    if there:
        home.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "VISAGE_HOME": str(home)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(ROOT / "jobs" / "run.py"), "train", "mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    # It found the file that came with it, and looked for the faces in the shared folder.
    assert ("visage prepare" if there else f"VISAGE_HOME = {home}") in done.stderr
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["mine.yaml"]
    if there:
        assert (home / "runs").is_dir()


def test_a_shared_folder_that_is_not_to_be_written_to_is_one_sentence(tmp_path: Path) -> None:
    """As a volume of many nodes is that was left to root; /proc is so for root too."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "VISAGE_HOME": "/proc"}
    command = [sys.executable, str(ROOT / "jobs" / "run.py"), "train", "mine.yaml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert_one_sentence(done, "VISAGE_HOME = /proc", f"user {os.getuid()} to write to")
