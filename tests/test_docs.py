"""The pages' commands are commands: the command line reads each, and each file that is named is there."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from visage.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CLUSTER = ("README.md", "jobs.md", "kind.md", "kubernetes.md", "operate.md")
COMMANDS: Any = typer.main.get_command(app)


def lines(page: Path) -> Iterator[str]:
    """The lines of the page's blocks of commands, those that go on in the next one joined."""
    text = page.read_text().replace("\\\n", " ")
    yield from (line.strip() for line in text.splitlines() if line.startswith("    "))


def commands(page: Path, program: str) -> list[list[str]]:
    """The words of each command of `program` in the page's blocks."""
    found = (re.split(r" &&? |\s&$| \| ", line.partition("  #")[0])[0] for line in lines(page))
    return [shlex.split(line)[1:] for line in found if line.startswith(f"{program} ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_visage_reads_its_commands(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://head:8265")  # what `. runs/cluster/env` sets
    for words in commands(page, "visage"):
        with COMMANDS.commands[words[0]].make_context(words[0], words[1:]) as context:
            further = list(context.args)
            inner = context.params.get("command")
        if words[0] == "submit":
            with COMMANDS.commands[inner].make_context(inner, further) as read:
                config = read.params.get("config")
            assert config is None or (ROOT / config).is_file(), words


def test_the_pages_of_a_cluster_have_commands_to_read() -> None:
    assert len(commands(ROOT / "docs" / "jobs.md", "visage")) >= 8
    assert len(commands(ROOT / "docs" / "kubernetes.md", "kubectl")) >= 10
    assert len(commands(ROOT / "docs" / "operate.md", "visage")) >= 2


@pytest.mark.parametrize("page", [page for page in PAGES if page.name in CLUSTER], ids=lambda page: page.name)
def test_what_the_pages_name_is_there(page: Path) -> None:
    for target in re.findall(r"\bmake (\w+)", "\n".join(lines(page))):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    for words in commands(page, "kubectl"):
        for option, path in itertools.pairwise(words):
            if option in ("-k", "-f"):
                assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / path).exists(), f"{page.name}: {path}"
    for path in re.findall(
        r"`((?:k8s|tests|configs|jobs|platform|docs|overlays|benchmarks)/[\w./-]+)`", page.read_text()
    ):
        assert (ROOT / path).exists() or (ROOT / "k8s" / path).exists(), f"{page.name}: {path}"


@pytest.mark.slow
def test_mlflow_takes_the_searches_of_the_pages(tmp_path: Path) -> None:
    from visage.registry.tracking import Tracking

    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "test")
    tags = {"visage.kind": "trial", "visage.state": "pruned", "visage.study": "synthetic-weights"}
    tracking.start_run("trial", tags=tags, params={"method.width": 32})
    home = [tracking.client.get_experiment_by_name("test").experiment_id]
    searches = [line.partition("  #")[0].strip() for page in PAGES for line in lines(page) if line.startswith("tags.")]
    assert len(searches) >= 7
    found = {search: len(tracking.client.search_runs(home, search)) for search in searches}
    assert found["tags.visage.state = 'pruned'"] == 1
    assert found["tags.visage.study = 'synthetic-weights' AND params.`method.width` = '32'"] == 1
