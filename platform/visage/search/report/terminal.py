"""`visage study`: a study's summary on a terminal, live while it runs."""

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from visage.search.report.markdown import figure, numbered
from visage.search.study.database import database_faults
from visage.search.study.endings import CUT_OFF, RUNNING
from visage.search.study.lock import runs_now
from visage.search.study.records import load_study
from visage.search.study.summary import Summary, importances_of, summarise

LOOK_SECONDS = 2.0
ROWS = 20
WIDTH = 24  # of a bar


def follow(name: str, storage: str, console: Console) -> None:
    """Print the study; while it runs show it live, or a line at each change where there is no terminal.

    Ctrl-C ends the look and not the study. Raises UserError when the database does not hold it.
    """
    study = load_study(name, storage)
    weights: dict[int, dict[str, float]] = {}  # by the number of complete trials

    def look() -> tuple[bool, Summary]:
        running, bare = runs_now(study), summarise(study, weights={})
        complete = bare.counts["complete"]
        if complete not in weights and (console.is_terminal or not running):
            weights[complete] = importances_of(study)
        return running, replace(bare, importances=weights.get(complete, {}))

    running, summary = look()
    with suppress(KeyboardInterrupt), database_faults(storage):
        if running and console.is_terminal:
            with Live(view(summary), console=console, auto_refresh=False, transient=True) as live:
                while running:
                    time.sleep(LOOK_SECONDS)
                    running, summary = look()
                    live.update(view(summary), refresh=True)
        said = ""
        while running:
            if str(summary) != said:
                said = str(summary)
                console.print(said)
            time.sleep(LOOK_SECONDS)
            running, summary = look()
    console.print(view(summary))
    if not running and summary.counts[RUNNING]:
        console.print("no process works at it; `visage tune CONFIG --resume` goes on")
    console.print(f"next: {summary.look} --web")


def view(summary: Summary) -> RenderableType:
    """Counts, the leader and why, what came of it, the table by rank, the Pareto front, importances."""
    parts: list[RenderableType] = [Text(str(summary), style="bold"), Text(" ".join(summary.why))]
    if summary.spending:
        parts.append(Text(summary.spending))
    if summary.best:
        parts += [_leader(summary), Text(f"repeat it: {summary.repeat}")]
    if found := summary.outcome:
        now = f"; now {found['alias']}" if found["alias"] else ""
        parts.append(Text(f"trial {found['trial']} became {found['model']}; gate: {found['decision']}{now}"))
    if summary.lines:
        parts.append(_trials(summary))
    if summary.front:
        parts.append(Text(f"Pareto front: {numbered(summary.front)}"))
    if summary.checkpoints:
        parts.append(Text(summary.checkpoints))
    if summary.importances:
        parts.append(_importances(summary))
    return Group(*parts)


def _leader(summary: Summary) -> RenderableType:
    best = summary.best
    assert best
    shown = _table("setting", "value", "searched")
    for path, value in best.params.items():
        shown.add_row(path, figure(value), summary.space.get(path, ""))
    return shown


def _trials(summary: Summary) -> RenderableType:
    values = list(summary.objectives)
    words = (name.replace("_", " ") for name in values)  # which a narrow terminal can break
    shown = _table("trial", "ending", "score", *words, "images", "seconds", "why", title="trials by rank")
    running = [line for line in summary.lines if line.state == RUNNING]
    ended = [line for line in summary.lines if line.state not in (RUNNING, CUT_OFF)]
    for line in (*ended[:ROWS], *running):
        shown.add_row(
            f"{line.number}{' *' if line.number in summary.front else ''}",
            line.state,
            *(_shown(value) for value in (line.score, *(line.values.get(name) for name in values))),
            str(line.images or ""),
            f"{line.seconds:.0f}" if line.seconds else "",
            Text(line.reason),
            style="bold" if line is summary.best else None,
        )
    left = len(ended) - ROWS
    return Group(shown, Text(f"and {left} more; study/trials.csv in MLflow holds all")) if left > 0 else shown


def _importances(summary: Summary) -> RenderableType:
    shown = _table("setting", "importance for the score", "")
    for path, share in summary.importances.items():
        shown.add_row(path, f"{share:.0%}", "█" * round(share * WIDTH))
    return shown


def _table(*headings: str, **options: Any) -> Table:
    return Table(*headings, box=SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="", **options)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
