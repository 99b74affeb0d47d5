"""What the commands share on a terminal: the console, a progress bar, and the answer to Ctrl-C."""

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from visage.errors import JudgesRefused, NotWritten, StoreRefused, UserError

if TYPE_CHECKING:
    from visage.search.study.progress import StudyProgress, Watch

console = Console(soft_wrap=True, highlight=False, markup=False)  # names of people and files may hold [brackets]


def typed(*further: str) -> str:
    """The command line as it was typed, with options that are not in it yet; of a job, the one that submitted it."""
    if submitted := os.environ.get("VISAGE_TYPED"):
        return submitted  # submitted again, a job goes on where it stopped
    given = sys.argv[1:]
    return shlex.join(["visage", *given, *(option for option in further if option not in given)])


def serving(registry: str) -> str:
    """The command that serves the champion of a registry."""
    from visage.registry.store import in_store

    return f"visage serve{in_store(registry, '--set tracking_uri=')}"


@contextmanager
def going_on_with(command: Callable[[], str]) -> Iterator[None]:
    """Adds to Ctrl-C, a SIGTERM, or the refusal of a store, a disk or a bucket, the command that goes on from there."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        raise UserError(f"{str(stopped) or 'cut off'}; go on with: {command()}") from None
    except (StoreRefused, NotWritten) as refused:
        raise UserError(f"{str(refused).rstrip('.')}; then go on with: {command()}") from None


@contextmanager
def judged_later(checkpoint: Path | str) -> Iterator[None]:
    """Adds to a judge's refusal what is kept, and the command that judges it when the judges are better."""
    try:
        yield
    except JudgesRefused as refused:
        raise UserError(
            f"{str(refused).rstrip('.')}; the training is kept in {checkpoint}, to be judged later with: "
            f"{typed('--resume')}"
        ) from None


@contextmanager
def bar(title: str, on: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar, on stdout by itself; yields update(description, done, of)."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=on or console, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda text, done, of: progress.update(task, description=text, completed=done, total=of)


@contextmanager
def study_bar() -> "Iterator[Watch]":
    """A bar on stderr for the `progress` of `tune`; plain lines, one for each trial, where there is no terminal."""
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    if errors.is_terminal:
        with bar("starting", errors) as update:
            yield lambda point: update(str(point), point.finished, point.trials)
        return
    said = -1

    def line(point: "StudyProgress") -> None:
        nonlocal said
        if point.finished != said:
            said = point.finished
            errors.print(str(point))

    yield line
