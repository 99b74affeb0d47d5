"""An evaluation as tables in a terminal of 80 columns."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from visage.config.experiment import FITTED
from visage.judging.metrics import Estimate
from visage.judging.results import FEW, FLOORS, Evaluation

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

# Metric, heading, digits.
METRICS = (
    ("score", "score", 3),
    ("identity", "identity", 3),
    ("identity_similarity", "identity_similarity", 3),
    ("expression", "expression", 3),
    ("expression_probability", "expression_probability", 3),
    ("expression_change", "expression_change", 3),
    ("au_agreement", "au_agreement", 3),
    ("au_correlation", "au_correlation", 3),
    ("au_correlation_fine", "au_correlation, fine", 3),
    ("au_f1", "au_f1", 3),
    ("lopsided_correlation", "lopsided_correlation", 3),
    ("pose_error", "pose_error (°)", 2),
    ("frechet", "frechet", 2),
    ("fid", "fid", 1),
    ("ssim", "ssim", 3),
    ("psnr", "psnr (dB)", 1),
    ("l1", "l1", 3),
)
ROWS = {
    "model": "model",
    "real": "real faces",
    "copy": "copy of the input",
    "mean_face": "mean face",
    "mean_change": "mean change",
    "rest": "source at rest",
    "constant": "constant reading",
    "regression": "units by regression",
    "wrong_person": "wrong person",
    "driver": "copy of the driver",
    "drawn": "true answer, drawn",
    "units": "model, told units",
    "named": "told by name",
}
DRIVERLESS = ("copy", "rest")  # left out of the table by action unit, which shows what follows the driver
COMPARED = ("model", "real")  # the rows of which the confusion and the groups are shown
MARK = "*"  # beside a figure that rests on a judge below RELIABLE


def table(evaluation: Evaluation) -> "Group":
    """The evaluation as a rich renderable: rows and metrics with their 95 % intervals, confusion, groups, intensity,
    the judges and their warnings."""
    from rich.console import Group
    from rich.text import Text

    names = " / ".join(ROWS[name] for name in COMPARED if name in evaluation.rows)
    parts: list[Any] = [
        Text(f"{evaluation.people} {evaluation.part} people, {evaluation.pairs} pairs; 95 % intervals over people"),
        *_figures(evaluation),
        Text(f"Read as, in % of the pairs with that target ({names})"),
        _confusion(evaluation),
    ]
    if evaluation.action_units:
        heading = f"By action unit: correlation and F1 with the driver's labels ({evaluation.labels})"
        if evaluation.alone:
            heading += "; told alone, 0 to 1: by how much it moves / the others do"
        parts += [Text(heading), _action_units(evaluation)]
    if evaluation.groups:
        parts += [Text(f"By group ({names}); ! under {FEW} people: no conclusion"), _groups(evaluation)]
    notes = [*intensity_notes(evaluation), *probe_notes(evaluation), judges_note(evaluation)]
    if evaluation.doubtful:
        notes.append(f"{MARK} rests on a judge that reads real faces poorly.")
    warnings = (Text(f"Warning: {warning}", style="yellow") for warning in evaluation.warnings)
    return Group(*parts, *(Text(note, style="dim") for note in notes), *warnings)


def shown(metric: str, figure: Estimate | None, digits: int, doubtful: frozenset[str]) -> tuple[str, str]:
    """A figure with its mark, and its interval; what could not be measured is a dash."""
    if figure is None:
        return "–", ""
    value = f"{figure.value + 0:.{digits}f}{MARK if metric in doubtful else ''}"
    interval = "" if math.isnan(figure.low) else f"{_bound(figure.low)}–{_bound(figure.high)}"
    return value.replace("-0.000", "0.000"), interval


def _bound(value: float) -> str:
    """Three digits, so that two bounds fit a narrow column."""
    size = abs(value)
    text = f"{value:.{3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0}f}"
    return text.removeprefix("-" if float(text) == 0 else "").replace("0.", ".", 1) if size < 1 else text


def judges_note(evaluation: Evaluation) -> str:
    """What the judges reach on the real faces of the people that were judged."""
    checked = evaluation.verification
    read = evaluation.judges.get("action_units")
    units = "" if read is None else f", action units {read:.3f} (mean correlation with the labels)"
    return (
        f"Judges on the real faces of these people: identity {evaluation.judges['identity']:.3f} "
        f"(verification rate at a false accept rate of {checked.allowed:g}; {checked.genuine_pairs} pairs of one "
        f"person and {checked.impostor_pairs} of two), expression {evaluation.judges['expression']:.3f} (accuracy "
        f"of {len(evaluation.expressions)}){units}. {judged_by(evaluation)} Networks {evaluation.networks[:12]}."
    )


def judged_by(evaluation: Evaluation) -> str:
    """Who judges, as a sentence."""
    who = {name: by if by == FITTED else f"from {by}" for name, by in evaluation.judged_by.items()}
    return f"Judges: of identity {who['identity']}, of expression {who['expression']}."


def intensity_notes(evaluation: Evaluation) -> list[str]:
    """The intensity curve in lines of text; none where there is no curve."""
    curve = evaluation.intensity
    if curve is None:
        return []
    read, known = (MARK if name in evaluation.doubtful else "" for name in ("expression", "identity"))
    levels = " ".join(f"{level:4g}" for level in curve.levels)
    probability = " ".join(f"{figure.value:4.2f}" for figure in curve.expression_probability)
    similarity = " ".join(f"{figure.value:4.2f}" for figure in curve.identity_similarity)
    return [
        f"Intensity                    {levels}",
        f"  expression_probability{read:1}    {probability}",
        f"  identity_similarity{known:1}       {similarity}",
        f"  never falls from 0 to 1 in {curve.rising.value:.0%} ({curve.rising.low:.0%}–{curve.rising.high:.0%}) of "
        f"{curve.pairs} pairs of {curve.people} people",
    ]


def probe_notes(evaluation: Evaluation) -> list[str]:
    """The leak tests in lines of text; none where there are none."""
    found = evaluation.probes
    if not found:
        return []

    def told(name: str) -> str:
        return " ".join(shown("", found.get(name), 2, frozenset()))

    chance = found["identity_chance"].value
    return [
        "Leak probes (linear)         AU-free feature    AU-related feature",
        f"  action units, correlation  {told('free_units'):18} {told('related_units')}   (chance 0)",
        f"  identity, share right      {told('free_identity'):18} {told('related_identity')}   (chance {chance:.2f})",
        f"The same picture as source and driver changes by {found['same_twice'].value:.1f} levels of 255.",
    ]


def _columns(first: str, *others: str) -> "Table":
    """A table of text on the left and figures on the right of it, by their headings."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(first, box=SIMPLE_HEAD, padding=0)
    for heading in others:
        grid.add_column(heading, justify="right")
    return grid


def _action_units(evaluation: Evaluation) -> "Table":
    units = {name: found for name, found in (evaluation.action_units or {}).items() if name not in DRIVERLESS}
    told = ["told alone"] if evaluation.alone else []
    grid = _columns("AU", *(ROWS.get(name, name) for name in units), *told)
    shown = next(iter(units.values()))
    for unit in [*shown, *(one for one in evaluation.alone or {} if one not in shown)]:  # the rest: of no expression
        known = [found.get(unit) for found in units.values()]
        cells = [f"{one.correlation.value:.2f} / {one.f1.value:.2f}" if one else "–" for one in known]
        if evaluation.alone:
            alone = evaluation.alone.get(unit)
            drawn = f" of {alone.drawn:.2f} drawn" if alone and alone.drawn is not None else ""
            cells.append(f"{alone.own.value:.2f}{drawn} / {alone.others.value:.2f}" if alone else "–")
        grid.add_row(unit, *(cell.replace("nan", "–") for cell in cells))
    return grid


def _figures(evaluation: Evaluation) -> "Iterator[Text | Table]":
    from rich.text import Text

    floors = [name for name in evaluation.rows if name in FLOORS]
    yield _grid(evaluation, [name for name in evaluation.rows if name not in floors])
    if floors:
        yield Text("Answers without a network, which a model must beat in score")
        yield _grid(evaluation, floors)


def _grid(evaluation: Evaluation, names: list[str]) -> "Table":
    rows = [evaluation.rows[name] for name in names]
    # Metrics go down, so that the table fits.
    grid = _columns("", *(ROWS.get(name, name) for name in names))
    grid.columns[0].no_wrap = True
    for metric, heading, digits in METRICS:
        if any(metric in row.metrics for row in rows):
            cells = [shown(metric, row.metrics.get(metric), digits, evaluation.doubtful) for row in rows]
            grid.add_row(heading, *("\n".join(cell).rstrip() for cell in cells))
    return grid


def _confusion(evaluation: Evaluation) -> "Table":
    names = [name for name in COMPARED if name in evaluation.rows]
    grid = _columns("target", *(expression[:5] for expression in evaluation.expressions))
    for target, expression in enumerate(evaluation.expressions):
        percent = [percentages(evaluation.rows[name].confusion[target]) for name in names]
        grid.add_row(expression, *("/".join(cells) for cells in zip(*percent, strict=True)))
    return grid


def percentages(counts: list[int]) -> list[str]:
    """Counts as whole percent of their sum; dashes where that is 0."""
    total = sum(counts)
    return [f"{100 * count / total:.0f}" if total else "–" for count in counts]


def _groups(evaluation: Evaluation) -> "Table":
    names, metrics = [name for name in COMPARED if name in evaluation.rows], ("score", "identity", "expression")
    grid = _columns("group", "people", *metrics)
    for name, group in evaluation.groups.items():
        cells = [
            " / ".join(shown(metric, group.rows.get(row, {}).get(metric), 3, evaluation.doubtful)[0] for row in names)
            for metric in metrics
        ]
        grid.add_row(name, f"{group.people}{' !' if group.people < FEW else ''}", *cells)
    return grid
