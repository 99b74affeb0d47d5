"""A study's summary in Markdown: the description of its run in MLflow, for somebody who sees nothing else."""

from collections.abc import Sequence
from typing import Any

from visage.search.study.page import leading_to
from visage.search.study.summary import Summary

ROWS = 10


def note(summary: Summary) -> str:
    """Which trial won, why, how to repeat it, and where the rest is."""
    spending = f"{summary.spending[0].upper()}{summary.spending[1:]}." if summary.spending else ""
    sections = [_winner(summary), spending, _outcome(summary), _trials(summary), _space(summary), _more(summary)]
    return "\n\n".join(filter(None, sections)) + "\n"


def figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def numbered(trials: Sequence[int]) -> str:
    return f"trial{'s' if len(trials) > 1 else ''} {', '.join(map(str, trials))}"


def table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _winner(summary: Summary) -> str:
    best = summary.best
    if best is None:
        return f"## No winner yet\n\n{' '.join(summary.why)}\n\n{summary}."
    reached = "\n".join(f"- {name}: {value:.4f}" for name, value in {"score": best.score, **best.values}.items())
    return (
        f"## Trial {best.number} won\n\n{' '.join(summary.why)}\n\n{reached}\n\n"
        f"Repeat it: `{summary.repeat}`\n\n{summary}."
    )


def _outcome(summary: Summary) -> str:
    found = summary.outcome
    if not found:
        return ""
    reasons = "\n".join(f"- {reason}" for reason in found["reasons"])
    now = f" It is now {found['alias']}." if found["alias"] else ""
    return (
        f"## Registered\n\nThe setting of trial {found['trial']} became {found['model']}, judged on the test people; "
        f"the gate's verdict: {found['decision']}.{now}\n\n{reasons}\n\n"
        f"Its figures and faces are in run {found['run_id']}."
    )


def _trials(summary: Summary) -> str:
    if not summary.lines:
        return ""
    values = list(summary.objectives)
    headings = ["trial", "ending", "score", *values, *(path.removeprefix("loss.") for path in summary.space)]
    rows = [
        [
            f"**{line.number}**" if summary.best is line else str(line.number),
            f"{line.state}, {line.reason}" if line.state == "complete" and line.reason else line.state,
            figure(line.score if line.score is not None else ""),
            *(figure(line.values.get(name, "")) for name in values),
            *(figure(line.params.get(path, "")) for path in summary.space),
        ]
        for line in summary.lines[:ROWS]
    ]
    rest = len(summary.lines) - len(rows)
    return (
        f"## Trials, by rank\n\n{table(headings, rows)}"
        + (f"\n\nand {rest} more, in study/trials.csv." if rest else "")
        + (f"\n\nPareto front: {numbered(summary.front)}." if summary.front else "")
    )


def _space(summary: Summary) -> str:
    best = summary.best
    rows = [
        [
            path,
            searched,
            figure(best.params.get(path, "")) if best else "",
            f"{summary.importances[path]:.0%}" if path in summary.importances else "",
        ]
        for path, searched in summary.space.items()
    ]
    headings = ["setting", "searched", "winner", "importance for the score"]
    aims = ", ".join(f"{name} ({mode})" for name, mode in summary.objectives.items())
    limits = f"; constraints: {', '.join(summary.constraints)}" if summary.constraints else ""
    return f"## Space\n\n{table(headings, rows)}\n\nObjectives: {aims}{limits}."


def _more(summary: Summary) -> str:
    return (
        "## More\n\n"
        "- Artifacts: study/figures.html (history, Pareto front, parallel coordinates, importances), study/trials.csv, "
        "and experiment.yaml: `visage tune experiment.yaml --set search.name=ANOTHER` does the whole study again.\n"
        f"- The trials' runs, with curves and faces: search for `tags.visage.study = '{summary.name}' AND "
        "tags.visage.state = 'complete'` (or pruned, diverged, failed, killed).\n"
        + (f"- {summary.checkpoints[0].upper()}{summary.checkpoints[1:]}.\n" if summary.checkpoints else "")
        + f"- In a terminal: `{summary.look}`. With curves and faces side by side: "
        + leading_to(summary.name, summary.look)
    )
