"""What an ablation found, for people: a table and a figure."""

import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.infra.files import write_whole
from visage.judging.comparison import at_equal_expression, over_seeds
from visage.judging.metrics import Estimate
from visage.judging.results import Intensity
from visage.judging.table import ROWS
from visage.methods import method_of
from visage.methods.base import Measured
from visage.registry.datasets import log_faces
from visage.search.ablation.run import FACES, AblationResult, Run
from visage.search.report.markdown import table as pipes

if TYPE_CHECKING:
    from rich.table import Table

    from visage.registry.tracking import Tracking

METRICS = ("identity", "identity_similarity", "expression", "expression_probability", "score")
RUN_ID = "run_id"
SHOWN = ("real", "driver", "copy", "mean_face", "mean_change", "rest", "constant", "regression")  # beside the variants


def table(result: AblationResult) -> "Table":
    """Variants down, metrics across: the mean over the seeds with its interval by Student's t."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD, pad_edge=False)
    grid.add_column("", no_wrap=True)
    for metric in _headings(result):
        grid.add_column(metric, justify="right")
    for name, cells in _lines(result):
        grid.add_row(name, *(cell.replace(" (", "\n(") for cell in cells))
    return grid


def markdown(result: AblationResult) -> str:
    """The table, the differences to the first variant, and every single run, as Markdown."""
    first, headings = next(iter(result.table)), _headings(result)
    others = list(result.table.items())[1:]
    changes = [[name, *(_signed(found.difference[metric]) for metric in METRICS)] for name, found in others]
    parts = (
        "Means over the seeds with 95 % intervals by Student's t; those of rows without a training are over people.",
        pipes(["", *headings], [[name, *cells] for name, cells in _lines(result)]),
        f"Difference to {first}, seed by seed, with 95 % intervals by Student's t.",
        pipes(["", *headings], changes),
        _at_equal_expression(result, first),
        "Every run.",
        pipes(["", "seed", *headings], [[run.variant, str(run.seed), *_reached(run, headings)] for run in result.runs]),
        _leaks(result),
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def _reached(run: Run, headings: list[str]) -> list[str]:
    evaluation = run.evaluation()
    if evaluation is None:
        return ["diverged", *[""] * (len(headings) - 1)]
    return [f"{evaluation.rows['model'].metrics[name].value:.3f}" for name in headings]


def figure(result: AblationResult) -> bytes:
    """PNG: identity_similarity against expression_probability; a dot a run, the mean with its intervals, and a
    line for the way that intensity takes from 0 to 1.5."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(7.5, 5.5), dpi=120, layout="constrained")
    axes = drawn.subplots()
    lines = False
    for number, (name, found) in enumerate(result.table.items()):
        across, up = found.metrics["expression_probability"], found.metrics["identity_similarity"]
        colour = f"C{number}"
        axes.errorbar(
            across.value,
            up.value,
            yerr=_reach(up),
            xerr=_reach(across),
            color=colour,
            capsize=3,
            marker="D",
            label=name,
        )
        axes.scatter(
            found.by_run["expression_probability"], found.by_run["identity_similarity"], color=colour, s=18, alpha=0.5
        )
        if curves := list(_curves(result, name).values()):
            ways = [[curve.expression_probability, curve.identity_similarity] for curve in curves]
            means = np.mean([[[point.value for point in axis] for axis in way] for way in ways], axis=0)
            axes.plot(*means, color=colour, alpha=0.4, linewidth=1)
            lines = True
    probability = _measured(result).probability
    axes.set_xlabel("expression_probability of the target" if probability == "expression_probability" else probability)
    axes.set_ylabel("identity_similarity")
    said = "Means over the seeds, 95 % intervals by Student's t; dots: runs"
    axes.set_title(f"{said}; lines: intensity 0 to 1.5" if lines else said, fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend()
    content = io.BytesIO()
    drawn.savefig(content, format="png")
    return content.getvalue()


def _measured(result: AblationResult) -> Measured:
    return method_of(result.runs[0].experiment.method.name).measured


def _headings(result: AblationResult) -> list[str]:
    """What METRICS measure: the single results hold what their method says."""
    return [_measured(result).probability if name == "expression_probability" else name for name in METRICS]


def _leaks(result: AblationResult) -> str:
    """What probes read from the features of each run of transfers."""
    rows, chance = list[list[str]](), 0.0
    for run in result.runs:
        if (evaluation := run.evaluation()) and (found := evaluation.probes):
            chance = found["identity_chance"].value
            read = (found[name].value for name in ("free_units", "related_units", "related_identity"))
            rows.append([run.variant, str(run.seed), *(f"{value:.2f}" for value in read)])
    units = ("action units from the AU-free feature (0)", "and from the AU-related one")
    headings = ["", "seed", *units, f"identity from the AU-related one ({chance:.2f})"]
    return f"Leak probes, with chance in brackets.\n\n{pipes(headings, rows)}" if rows else ""


def _curves(result: AblationResult, variant: str) -> dict[int, Intensity]:
    """The intensity curves of a variant's runs, by seed."""
    found = {run.seed: run.evaluation() for run in result.runs if run.variant == variant}
    return {seed: one.intensity for seed, one in found.items() if one and one.intensity}


def _at_equal_expression(result: AblationResult, first: str) -> str:
    rows, measures = list[list[str]](), _curves(result, first)
    for name in list(result.table)[1:]:
        gains = []
        for seed, curve in _curves(result, name).items():
            if seed in measures:
                found = at_equal_expression(curve, measures[seed])
                own, firsts = found.identity_similarity, found.first
                gains.append(own - firsts)
                figures = (f"{value:.3f}" for value in (found.expression_probability, own, firsts))
                rows.append([name, str(seed), *figures, f"{gains[-1]:+.3f}"])
        if len(gains) > 1:
            rows.append([name, "mean", "", "", "", _signed(over_seeds(gains))])
    if not rows:
        return ""
    headings = ["", "seed", "expression_probability", "identity_similarity", f"of {first}", "difference"]
    return (
        f"At equal expression: of the variant and {first} the one that changes more is turned down by its intensity to "
        "where it changes as much as the other, so that merely changing less gains nothing. On the pairs of the "
        f"intensity curve.\n\n{pipes(headings, rows)}"
    )


def _lines(result: AblationResult) -> Iterator[tuple[str, list[str]]]:
    """Name and cells of every variant, and of the rows that need no training."""
    for name, found in result.table.items():
        yield name, [_figure(found.metrics[metric]) for metric in METRICS]
    evaluation = next(one for run in result.runs if (one := run.evaluation()) is not None)
    for row in SHOWN:
        if row in evaluation.rows:
            metrics: Mapping[str, Estimate] = evaluation.rows[row].metrics
            figures = (metrics.get(name) for name in _headings(result))
            yield ROWS[row], [_figure(figure) if figure else "–" for figure in figures]


def _figure(estimate: Estimate) -> str:
    return f"{estimate.value:.3f}{_interval(estimate, '.3f')}"


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f}{_interval(estimate, '+.3f')}"


def _interval(estimate: Estimate, digits: str) -> str:
    """Empty for one seed, of which nothing can be said."""
    return "" if math.isnan(estimate.low) else f" ({estimate.low:{digits}} to {estimate.high:{digits}})"


def _reach(estimate: Estimate) -> list[list[float]]:
    if math.isnan(estimate.low):
        return [[0.0], [0.0]]
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]


def record(result: AblationResult, tracking: "Tracking", name: str, out: Path) -> str:
    """Write table.md and ablation.png to `out`, and log them to MLflow with a run for each training.

    Returns the run_id of the ablation's own run, which the others hang under. The same result is logged once.
    """
    table_md, note = markdown(result).encode(), out / RUN_ID
    if note.is_file() and (out / "table.md").is_file() and (out / "table.md").read_bytes() == table_md:
        return note.read_text()
    write_whole(out / "table.md", table_md)
    write_whole(out / "ablation.png", figure(result))
    parent = tracking.start_run(name, tags={"visage.kind": "ablation"})
    for run in result.runs:
        tags = {"visage.kind": "ablation run", "visage.variant": run.variant}
        log = tracking.start_run(run.name, parent.run_id, tags, run.experiment.model_dump(mode="json"), run.experiment)
        log_faces(log, run.experiment.data)
        log.record((point.images, point.figures()) for point in run.files.points())
        evaluation = run.evaluation()
        if evaluation is not None:
            figures = {f"test/{metric}": e.value for metric, e in evaluation.rows["model"].metrics.items()}
            log.log(figures, run.experiment.train.images)
            log.picture(run.folder / FACES, FACES)
        log.finish("complete" if evaluation else "diverged")
    for file in ("table.md", "ablation.png"):
        parent.picture(out / file, file)
    parent.finish("complete")
    write_whole(note, parent.run_id.encode())
    return parent.run_id
