"""report.html: one self-contained page with what the demo made, searched and measured."""

import base64
import warnings
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment
from visage.judging.table import MARK, METRICS, ROWS, intensity_notes, judges_note, percentages, shown

if TYPE_CHECKING:
    from visage.client import Answer
    from visage.judging.results import Evaluation

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } small { color: #666; }
.wide { overflow-x: auto; } img { max-width: 100%; }
figure { display: inline-block; margin: 0 .5rem 0 0; text-align: center; }
"""


def write_report(
    out: Path, result: dict[str, Any], experiment: Experiment, evaluation: "Evaluation", answer: "Answer", faces: Path
) -> None:
    """Write the page. result: as in result.json. answer: what the endpoint gave for one face. faces: the picture."""
    from visage.search import plots
    from visage.search.study import load_study, table

    study = load_study(experiment.search.name, experiment.search.storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna marks some of its figures as experimental
        drawn = plots.figures(study)
    model, endpoint = result["model"], result["endpoint"]
    parts = [
        f"<h1>Visage demo: {escape(model['name'])} version {model['version']}, {escape(model['alias'])}</h1>",
        "<p>Procedural people that no training saw. Each row: the input face, the model's face for every expression, "
        "and the true face.</p>",
        _image(faces.read_bytes(), "held-out people with every expression"),
        "<h2>Measured on the test people</h2>",
        _metrics(evaluation),
        f"<h2>What the endpoint answered</h2><p>Status {endpoint['status']}; a warm request for one face took "
        f"{endpoint['latency_ms']} ms.</p>",
        "".join(
            f"<figure>{_image(each.image, each.expression)}<figcaption>{escape(each.expression)}</figcaption></figure>"
            for each in answer.results
        ),
        f"<h2>The search: study {escape(experiment.search.name)}</h2>",
        _table(table(study)),
        *(f"<h3>{escape(name.replace('_', ' '))}</h3>{plots.snippet(figure)}" for name, figure in drawn.items()),
        "<h2>Seconds</h2>",
        _table([result["seconds"]]),
    ]
    out.write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Visage demo</title>\n'
        f"<style>{STYLE}</style>\n{plots.plotly_script()}</head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _metrics(evaluation: "Evaluation") -> str:
    shown_metrics = [line for line in METRICS if any(line[0] in row.metrics for row in evaluation.rows.values())]
    head = "".join(f"<th>{heading}</th>" for _, heading, _ in shown_metrics)
    rows = ""
    for name, row in evaluation.rows.items():
        cells = ""
        for metric, _, digits in shown_metrics:
            value, interval = shown(metric, row.metrics.get(metric), digits, evaluation.doubtful)
            cells += f"<td>{value}<br><small>{interval}</small></td>"
        rows += f"<tr><td>{escape(ROWS[name])}</td>{cells}</tr>"
    warned = "".join(f"<p><strong>{MARK} {escape(text)}</strong></p>" for text in evaluation.warnings)
    curve = "\n".join(intensity_notes(evaluation))
    return (
        f'<div class="wide"><table><tr><th>row</th>{head}</tr>{rows}</table></div>'
        f"<p><small>{evaluation.people} test people, {evaluation.pairs} pairs; 95 % intervals over people. "
        f"{escape(judges_note(evaluation))}</small></p>{warned}{_confusion(evaluation)}<pre>{escape(curve)}</pre>"
    )


def _confusion(evaluation: "Evaluation") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in evaluation.expressions)
    rows = ""
    for target, counts in zip(evaluation.expressions, evaluation.rows["model"].confusion, strict=True):
        rows += f"<tr><td>{escape(target)}</td>" + "".join(f"<td>{cell}</td>" for cell in percentages(counts)) + "</tr>"
    told = "<p>Target down, what the judge reads in the model's faces across, in %:</p>"
    return f'{told}<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _table(rows: list[dict[str, Any]]) -> str:
    columns = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in HIDDEN]
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_text(row.get(name, '')))}</td>" for name in columns) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


HIDDEN = {"checkpoint_path", "run_id"}


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
