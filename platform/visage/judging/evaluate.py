"""Measure a generator on people it never saw, beside the real faces and the answers that need no generator."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from visage.config.aims import FRECHET
from visage.faces.faceset import FaceSet
from visage.judging.fid import inception_distances
from visage.judging.floors import mean_changes, mean_faces
from visage.judging.frechet import Realism
from visage.judging.intensity import intensity_curve
from visage.judging.judges import Generator, Judges, Seen
from visage.judging.metrics import Estimate, estimates
from visage.judging.networks.train import FaceNetworks
from visage.judging.pairs import BATCH, NONE, Pairs, pairs, spread, strangers
from visage.judging.results import Evaluation, FaceResult, Group, Row

FIDELITY_PAIRS = 1_024  # ssim takes longer than all judges, and decides nothing
GROUP_METRICS = ("score", "identity", "identity_similarity", "expression", "expression_probability")


def quick(judges: Judges, generator: Generator, pairs: Pairs, realism: Realism | None = None) -> dict[str, float]:
    """The metrics that rest on the judges, without intervals: for training and search on validation people.

    realism: adds `frechet`.
    """
    seen, columns = judges.answers(generator, pairs)
    nobody = [""] * len(pairs)
    found = {name: figure.value for name, figure in estimates(columns, nobody, resamplings=1).items()}
    if realism and (distance := realism.distance(seen.feature, pairs.target, nobody, 0)):
        found[FRECHET] = distance.value
    return found


def evaluate(
    generator: Generator | None,
    faces: FaceSet,
    networks: FaceNetworks,
    part: str = "test",
    *,
    bootstrap: int = 2_000,
    device: str | torch.device = "cpu",
    inception: Path | None = None,
) -> Evaluation:
    """Judge `generator` (None: only the rows that need none) on all pairs of a part's people.

    generator: (faces N,3,S,S in [-1, 1], conditions N,K) -> faces. Rows: model; real, the true faces; copy, the inputs
    as they are; mean_face, the mean training face of the target expression; mean_change, see `floors.mean_changes`;
    wrong_person, another person's true face of that expression. Intervals are 95 % over people; ssim, psnr and l1 are
    of 1,024 pairs at most. inception: weights for FID, which the rows model and real then have. Raises JudgesRefused
    when a judge is no better than chance.
    """
    judges = Judges(networks, faces, part, device)
    judges.refuse_chance()
    asked = pairs(faces, part)
    answers = [] if generator is None else [_made("model", judges, judges.generated(generator, asked), asked)]
    answers += _without_generator(judges, asked)
    realism = Realism.of(*judges.training_features())
    rows = {answer.name: _row(judges, answer, realism, bootstrap) for answer in answers}
    if inception:
        for name, distance in inception_distances(inception, judges, generator, asked).items():
            rows[name].metrics["fid"] = distance
    return replace(
        evaluation(judges, asked.input, rows),
        groups=_groups(faces, [answer for answer in answers if answer.name in ("model", "real")], bootstrap),
        intensity=None if generator is None else intensity_curve(judges, generator, asked, bootstrap),
    )


def evaluation(judges: Judges, inputs: np.ndarray, rows: dict[str, Row]) -> Evaluation:
    """Rows with what the judges say of themselves. inputs: N pictures that faces were made of."""
    faces, networks = judges.faces, judges.networks
    return Evaluation(
        part=judges.part,
        expressions=list(faces.expressions),
        faces_sha256=faces.sha256,
        networks=networks.sha256,
        people=len(np.unique(faces.identity[inputs])),
        pairs=len(inputs),
        judges=judges.accuracy,
        verification=judges.identity,
        report=networks.report,
        judged_by=networks.judged_by,
        warnings=judges.warnings(),
        rows=rows,
    )


def row(
    faces: FaceSet, seen: Seen, columns: Mapping[str, np.ndarray], metrics: dict[str, Estimate], *, inputs: np.ndarray,
    kinds: np.ndarray, targets: Sequence[str], probability: str, realism: Realism | None, bootstrap: int,
) -> Row:  # fmt: skip
    """The row of N faces. inputs: the pictures that they were made of. kinds: the expressions that they are to show.
    targets, and the column `probability`: what `FaceResult` holds under these names."""
    people = faces.identity[inputs]
    results = [
        FaceResult(
            identity=str(people[k]),
            input=str(faces.path[inputs[k]]),
            target=str(targets[k]),
            similarity=float(columns["identity_similarity"][k]),
            probability=float(columns[probability][k]),
            verified=bool(columns["identity"][k]),
            correct=bool(columns["expression"][k]),
        )
        for k in range(len(inputs))
    ]
    if realism and (distance := realism.distance(seen.feature, kinds, people, bootstrap)):
        metrics[FRECHET] = distance
    confusion = np.zeros((len(faces.expressions),) * 2, int)
    np.add.at(confusion, (kinds, seen.probability.argmax(1)), 1)
    return Row(metrics, len(np.unique(people)), len(inputs), confusion.tolist(), results)


@dataclass(frozen=True)
class Answer:
    """Faces that answer the pairs, as the judges see them, with the values of each pair by metric."""

    name: str
    pairs: Pairs
    seen: Seen
    columns: dict[str, np.ndarray]


def _made(name: str, judges: Judges, made_of: Iterable[tuple[Pairs, Tensor]], asked: Pairs) -> Answer:
    """made_of: batch by batch some of the pairs, and the faces that were made of them."""
    seen, fidelity = [], []
    compared = _compared(len(asked))
    for start, (some, made) in zip(range(0, len(asked), BATCH), made_of, strict=True):
        seen.append(judges.judge(made))
        places = np.flatnonzero(compared[start : start + BATCH])
        fidelity.append(judges.fidelity(made[torch.from_numpy(places).to(made.device)], some.take(places)))
    return _answer(name, judges, asked, Seen.joined(seen), fidelity)


def _answer(name: str, judges: Judges, pairs: Pairs, seen: Seen, fidelity: list[dict[str, np.ndarray]]) -> Answer:
    """fidelity: in parts, of the pairs that are compared."""
    places = np.flatnonzero(_compared(len(pairs)))
    columns = judges.columns(seen, pairs, pairs.reference)
    for metric in fidelity[0]:
        columns[metric] = spread(np.concatenate([part[metric] for part in fidelity]), places, len(pairs))
    return Answer(name, pairs, seen, columns)


def _compared(pairs: int) -> np.ndarray:
    """bool N: the pairs that are compared pixel by pixel, at most FIDELITY_PAIRS."""
    return np.random.default_rng(0).permutation(pairs) < FIDELITY_PAIRS


def _without_generator(judges: Judges, asked: Pairs) -> list[Answer]:
    """The rows that need no generator; of most the judges need no look at every pair: they know real faces already."""
    faces = judges.faces
    true = asked.take(np.flatnonzero(asked.truth != NONE))
    other = strangers(faces, judges.part, asked)
    met, other = asked.take(np.flatnonzero(other != NONE)), other[other != NONE]
    mean = mean_faces(faces).to(judges.device)
    found = []
    if len(true):
        seen = judges.seen.take(true.truth)
        found.append(Answer("real", true, seen, judges.columns(seen, true, true.real_reference)))

    def add(name: str, pairs: Pairs, seen: Seen, shown: Callable[[np.ndarray], Tensor]) -> None:
        places = np.flatnonzero(_compared(len(pairs)))
        batches = np.array_split(places, max(1, len(places) // BATCH))
        fidelity = [judges.fidelity(shown(some), pairs.take(some)) for some in batches]
        found.append(_answer(name, judges, pairs, seen, fidelity))

    add("copy", asked, judges.seen.take(asked.input), lambda places: judges.pictures(asked.input[places]))
    add("mean_face", asked, judges.judge(mean).take(asked.target), lambda places: mean[asked.target[places]])
    found.append(_made("mean_change", judges, mean_changes(judges, asked), asked))
    if len(met):
        add("wrong_person", met, judges.seen.take(other), lambda places: judges.pictures(other[places]))
    return found


def _row(judges: Judges, answer: Answer, realism: Realism | None, bootstrap: int) -> Row:
    faces, pairs = judges.faces, answer.pairs
    metrics = estimates(answer.columns, faces.identity[pairs.input], bootstrap)
    targets = [faces.expressions[kind] for kind in pairs.target]
    return row(
        faces, answer.seen, answer.columns, metrics, inputs=pairs.input, kinds=pairs.target, targets=targets,
        probability="expression_probability", realism=realism, bootstrap=bootstrap,
    )  # fmt: skip


def _groups(faces: FaceSet, answers: list[Answer], bootstrap: int) -> dict[str, Group]:
    """One group for each word by which the face set describes its people, such as "female" of "white female"."""
    found = {}
    for word in sorted(
        {word for answer in answers for text in faces.group[answer.pairs.input] for word in text.split()}
    ):
        rows, people, count = {}, 0, 0
        for answer in answers:
            own = np.array([word in text.split() for text in faces.group[answer.pairs.input]])
            if not own.any():
                continue
            columns = {name: column[own] for name, column in answer.columns.items()}
            names = faces.identity[answer.pairs.input[own]]
            metrics = estimates(columns, names, bootstrap)
            rows[answer.name] = {name: metrics[name] for name in GROUP_METRICS}
            people, count = max(people, len(np.unique(names))), max(count, int(own.sum()))
        found[word] = Group(people, count, rows)
    return found
