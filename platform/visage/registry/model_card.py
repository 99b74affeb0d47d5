"""MODEL_CARD.md: what card.json says, for people to read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel

from visage.config.method import schema_at
from visage.faces.action_units import SOURCES
from visage.judging.metrics import Estimate
from visage.judging.results import FEW, RELIABLE, Evaluation
from visage.judging.table import MARK, METRICS, ROWS, judges_note, percentages, probe_notes, shown
from visage.methods import method_of
from visage.models.condition import NEUTRAL
from visage.registry.card import NATURAL, SAMPLES, Card

KINDS = {"synthetic": "procedural drawings of faces, made by Visage"}
WEAK = 0.7  # an expression read right less often is named among the limits
SAMPLED = (
    f"`{SAMPLES}` holds the sample faces of the endpoint's page: averages of five training people each, of those who "
    "look alike."
)
PERMITTED = """\
Visage is for faces of people who agreed to it, in research and in works where everybody can see that a face was
changed. Do not use it to make somebody appear to feel or say what they did not, to get past an identity check, or to
judge a person's emotions: the model draws expressions, and knows nothing of feelings. The licence of the face set
binds the use of this model too."""


def model_card(card: Card, later: Sequence[str] = ()) -> str:
    """The model card as Markdown, made of the card's data alone. later: sentences on what people have chosen since."""
    evaluation = Evaluation.from_dict(card.evaluation)
    sections = {
        f"visage-{card.method}: a face's expression changed, the person kept": _what(card),
        "Data": _data(card),
        "Judges": _judges(evaluation),
        f"Measured on {evaluation.people} {evaluation.part} people": _table(card, evaluation),
        "Eyes": _eyes(card, later),
        "Confusion": _confusion(evaluation),
        "Groups": _groups(evaluation),
        "Intensity": _intensity(evaluation),
        "Limits": _limits(card, evaluation),
        "Consent and permitted use": PERMITTED,
        "How to make it again": _again(card),
    }
    return (
        "\n\n".join(f"{'##' if k else '#'} {title}\n\n{text}" for k, (title, text) in enumerate(sections.items()))
        + "\n"
    )


def summary(card: Card) -> str:
    """The model in a few lines, as the registry shows it."""
    evaluation = Evaluation.from_dict(card.evaluation)
    model = evaluation.rows["model"].metrics
    figures = ", ".join(
        f"{name} {_cell(name, model.get(name), 3, evaluation)}" for name in ("score", "identity", "expression")
    )
    lines = [
        f"{card.method} at {card.image_size} px on {_kind(card)} ({card.data.name}): {', '.join(card.expressions)}.",
        f"{evaluation.people} {evaluation.part} people: {figures}; 95 % intervals over people.",
        *evaluation.warnings,
        *(card.eyes.said if card.eyes else ()),
        f"Extensions of the published method: {', '.join(extensions(card.config)) or 'none'}.",
        "MODEL_CARD.md in the bundle says the rest.",
    ]
    return "\n\n".join(lines)


def extensions(config: Mapping[str, Any]) -> list[str]:
    """The extensions of the published method that a configuration turns on, as key = value."""
    from visage.config import Experiment

    return list(_extensions(Experiment, config, "", False))


def _extensions(section: type[BaseModel], values: Mapping[str, Any], path: str, all_of_it: bool) -> Iterator[str]:
    for name, field in section.model_fields.items():
        value = values.get(name)
        if value is None:
            continue
        kind = schema_at(section, name, values)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and isinstance(value, Mapping):
            whole = all_of_it or (kind.__doc__ or "").startswith("(extension")
            yield from _extensions(kind, value, f"{path}{name}.", whole)
        elif (all_of_it or (field.description or "").startswith("(extension")) and value != field.default:
            yield f"{path}{name} = {value}"


def _kind(card: Card) -> str:
    return KINDS.get(card.data.layout, "photographs")


def _what(card: Card) -> str:
    used = extensions(card.config)
    method = method_of(card.method)
    lines = [
        f"- Takes an aligned face of {card.image_size} x {card.image_size} pixels{method.takes(card.files)}",
        f"- Expressions: {', '.join(card.expressions)}.",
        f"- Method: {method.paper}; the exact losses are Visage's reading of it.",
        f"- Extensions of the published method in use: {', '.join(used) if used else 'none'}.",
        f"- Made {card.created} by run {card.run_id}; generator {card.sha256[:12]}.",
        "- `faces.png` shows some of the test people.",
        *([f"- {SAMPLED}"] if SAMPLES in card.files else []),
    ]
    return "\n".join(lines)


def _data(card: Card) -> str:
    people = ", ".join(f"{count} {part}" for part, count in card.data.people.items())
    return "\n".join(
        [
            f"- Face set `{card.data.name}`, layout {card.data.layout}, {_kind(card)}; pixels {card.data.sha256[:12]}.",
            f"- People: {people or 'not recorded'}. Nobody is in two parts; nothing had seen the test people.",
            f"- Licence and source: {card.data.licence or 'not recorded; ask whoever made the face set'}.",
            *([f"- Action units: {SOURCES[labels]}."] if (labels := card.evaluation.get("labels")) in SOURCES else []),
        ]
    )


def _judges(evaluation: Evaluation) -> str:
    report = evaluation.report
    lines = [
        "Networks that the training never used: fitted ones to the training people's real faces, others by others to "
        "other people.",
        judges_note(evaluation),
    ]
    if "identity_judge_follows_face" in report:
        lines.append(
            "With inner faces swapped between two validation people the identity judge follows the face, not the head "
            f"around it, in {report['identity_judge_follows_face']:.0%}."
        )
    if evaluation.warnings:
        lines.append(f"Figures marked {MARK} rest on a judge below {RELIABLE} on real faces:")
    return "\n\n".join([*lines, *(f"**{warning}**" for warning in evaluation.warnings)])


def _grid(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(metric: str, figure: Estimate | None, digits: int, evaluation: Evaluation) -> str:
    value, interval = shown(metric, figure, digits, evaluation.doubtful)
    return f"{value} ({interval})" if interval else value


def _table(card: Card, evaluation: Evaluation) -> str:
    rows = []
    for metric, heading, digits in METRICS:
        figures = [row.metrics.get(metric) for row in evaluation.rows.values()]
        if any(figures):
            rows.append([heading, *(_cell(metric, figure, digits, evaluation) for figure in figures)])
    grid = _grid(["", *(ROWS[name] for name in evaluation.rows)], rows)
    parts = [method_of(card.method).explain(evaluation), grid]
    return "\n\n".join([*parts, *("    " + "\n    ".join(notes) for notes in [probe_notes(evaluation)] if notes)])


def _eyes(card: Card, later: Sequence[str]) -> str:
    text = (
        "What people chose, blind, between two faces of the same person. Later choices between versions "
        "(`visage compare A B --eyes`) stand on the version's page in the registry, and in the card beside its run."
    )
    before = "Nobody had chosen when this model was registered."
    if card.eyes:
        before = f"Between faces of the study's trials, of which trial {card.eyes.trial} has this model's setting:"
    return "\n\n".join([text, before, *(card.eyes.said if card.eyes else ()), *later])


def _confusion(evaluation: Evaluation) -> str:
    parts = ["Target down, what the judge reads across, in % of the pairs with that target."]
    for name in ("model", "real"):
        if name in evaluation.rows:
            counts = zip(evaluation.expressions, evaluation.rows[name].confusion, strict=True)
            rows = [[target, *percentages(row)] for target, row in counts]
            parts.append(_grid([ROWS[name], *evaluation.expressions], rows))
    return "\n\n".join(parts)


def _groups(evaluation: Evaluation) -> str:
    if not evaluation.groups:
        return "The face set names no groups, so nothing is known about differences between them."
    rows = []
    for name, group in evaluation.groups.items():
        cells = []
        for metric in ("identity", "expression"):
            for row in ("model", "real"):
                value, interval = shown(metric, group.rows.get(row, {}).get(metric), 3, evaluation.doubtful)
                cells.append(f"{value} ({interval})" if interval and group.people >= FEW else value)
        rows.append([name, f"{group.people}{' !' if group.people < FEW else ''}", *cells])
    head = ["group", "people", "identity", "identity, real faces", "expression", "expression, real faces"]
    text = (
        "Groups are those that the face set names. Where the real faces fare differently too, it is the judge that "
        f"differs. ! fewer than {FEW} people: no conclusion can be drawn."
    )
    return f"{text}\n\n{_grid(head, rows)}"


def _intensity(evaluation: Evaluation) -> str:
    curve = evaluation.intensity
    if curve is None:
        return "Not measured."
    rows = []
    for k, level in enumerate(curve.levels):
        expression = _cell("expression_probability", curve.expression_probability[k], 2, evaluation)
        identity = _cell("identity_similarity", curve.identity_similarity[k], 2, evaluation)
        rows.append([f"{level:g}", expression, identity])
    nothing = "the neutral face" if NEUTRAL in evaluation.expressions else "the middle of all expressions"
    text = (
        f"0 asks for {nothing}, 1 for the full expression. The target's probability never falls on the way from "
        f"0 to 1 in {curve.rising.value:.0%} ({curve.rising.low:.0%}–{curve.rising.high:.0%}) of {curve.pairs} pairs "
        f"of {curve.people} people."
    )
    return f"{text}\n\n{_grid(['intensity', 'expression_probability', 'identity_similarity'], rows)}"


def _limits(card: Card, evaluation: Evaluation) -> str:
    drawn = card.data.layout == "synthetic"
    model = evaluation.rows["model"]
    lines = [
        "Learnt and measured on procedural drawings; nothing here says how it does on photographs."
        if drawn
        else f"Learnt and measured on one face set, {card.data.name}; other cameras, light and ages are not measured.",
        f"{card.image_size} x {card.image_size} pixels of face: a larger photograph gets a face of that detail back.",
        "Faces are aligned by the eyes and as frontal as those of the face set; other poses are not measured.",
        "The judges are small and no people: read the pictures too, and the real faces' row beside every figure.",
    ]
    for k, target in enumerate(evaluation.expressions):
        counts = model.confusion[k]
        total = sum(counts)
        if total and counts[k] / total < WEAK:
            others = [(count, evaluation.expressions[j]) for j, count in enumerate(counts) if j != k]
            count, instead = max(others)
            lines.append(
                f"Known failure: {target} is read right in {counts[k] / total:.0%}; most often it is read as {instead} "
                f"instead ({count / total:.0%})."
            )
    if NATURAL not in card.files:
        lines.append("It carries no check of damaged mouths: the endpoint does not say how `natural` an answer is.")
    return "\n".join(f"- {line}" for line in [*lines, *evaluation.warnings])


def _again(card: Card) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    seed = card.config.get("train", {}).get("seed", "not recorded")
    return (
        f"Run {card.run_id}, seed {seed}; {versions or 'versions not recorded'}. With this in config.yaml:\n\n"
        f"    visage train config.yaml\n\n```yaml\n{yaml.safe_dump(dict(card.config), sort_keys=False)}```"
    )
