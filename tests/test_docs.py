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
CLUSTER = ("README.md", "jobs.md", "kubernetes.md", "operate.md")
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
