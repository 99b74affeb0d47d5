"""report.html: one self-contained page with what the demo made, searched and measured."""

import base64
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment
from visage.judging.table import MARK, METRICS, ROWS, intensity_notes, judges_note, percentages, shown
from visage.search.report.markdown import figure

if TYPE_CHECKING:
    from visage.client import Answer
    from visage.judging.results import Evaluation

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child { text-align: left; } th, td { vertical-align: top; } tr:first-child th { vertical-align: bottom; }
small { color: #666; } td small { white-space: nowrap; } img { max-width: 100%; } pre { white-space: pre-wrap; }
figure { display: inline-block; margin: 0 .5rem 0 0; text-align: center; }
@media (max-width: 700px) {
  body { padding: 0 .5rem; } pre { font-size: 9px; }
  table { font-size: 10px; line-height: 1.4; } td small { font-size: inherit; } th, td { padding: .2rem; }
  th:first-child { font-weight: normal; } .words tr:first-child th { writing-mode: vertical-rl; text-align: left; }
}
"""


def write_report(
    out: Path, result: dict[str, Any], experiment: Experiment, evaluation: "Evaluation", answer: "Answer", faces: Path
) -> None:
    """Write the page. result: as in result.json. answer: what the endpoint gave for one face. faces: the picture."""
    from visage.search.report import plots
    from visage.search.study.records import load_study, table

    study = load_study(experiment.search.name, experiment.search.storage)
    drawn = plots.embedded(plots.figures(study))
    model, endpoint = result["model"], result["endpoint"]
    alias = model["alias"] or "rejected"
    parts = [
        f"<h1>Visage demo: {escape(model['name'])} version {model['version']}, {escape(alias)}</h1>",
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
        _table(_turned(table(study))),
        *(f"<h3>{escape(name.replace('_', ' '))}</h3>{drawing}" for name, drawing in drawn.items()),
        "<h2>Seconds</h2>",
        _table([["stage", "seconds"], *([name, figure(spent)] for name, spent in result["seconds"].items())]),
    ]
    out.write_text(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Visage demo</title>\n'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _metrics(evaluation: "Evaluation") -> str:
    lines = [["", *(escape(ROWS[name]) for name in evaluation.rows)]]
    for metric, heading, digits in METRICS:
        if any(metric in row.metrics for row in evaluation.rows.values()):
            told = [
                shown(metric, row.metrics.get(metric), digits, evaluation.doubtful) for row in evaluation.rows.values()
            ]
            lines.append([_name(heading), *(f"{value}<br><small>{interval}</small>" for value, interval in told)])
    warned = "".join(f"<p><strong>{MARK} {escape(text)}</strong></p>" for text in evaluation.warnings)
    curve = "\n".join(intensity_notes(evaluation))
    return (
        f"{_table(lines, 'words')}<p><small>{evaluation.people} test people, {evaluation.pairs} pairs; 95 % intervals "
        f"over people. {escape(judges_note(evaluation))}</small></p>{warned}{_confusion(evaluation)}"
        f"<pre>{escape(curve)}</pre>"
    )


def _confusion(evaluation: "Evaluation") -> str:
    names = [escape(name) for name in evaluation.expressions]
    read = [percentages(counts) for counts in evaluation.rows["model"].confusion]
    lines = [["", *names], *([name, *cells] for name, cells in zip(names, read, strict=True))]
    return f"<p>Target down, what the judge reads in the model's faces across, in %:</p>{_table(lines, 'words')}"


def _turned(rows: list[dict[str, Any]]) -> list[list[str]]:
    """A row for each key and a column for each of the rows, of which there are few, so that all fits on the page."""
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in HIDDEN]
    return [[_name(key), *(escape(figure(row.get(key, ""))) for row in rows)] for key in keys]


def _table(lines: list[list[str]], kind: str = "") -> str:
    """Lines of cells, HTML: the first line and the first cell of each are headings. kind: a class, `words` above."""
    head, *rest = lines
    first = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr><th>{line[0]}</th>{''.join(f'<td>{cell}</td>' for cell in line[1:])}</tr>" for line in rest)
    return f'<table class="{kind}"><tr>{first}</tr>{body}</table>'


def _name(key: str) -> str:
    """A key that may be broken where its words end."""
    return re.sub(r"([_.])(?=\w)", r"\1<wbr>", escape(key))


HIDDEN = {"checkpoint_path", "run_id"}


def _image(png: bytes, alt: str) -> str:
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
