"""Measure a transfer of expressions on people it never saw, beside the answers that need no such model."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from visage.config.experiment import Judge
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.evaluate import evaluation, row
from visage.judging.frechet import Realism
from visage.judging.judges import Generator, Judges
from visage.judging.metrics import interval_over_people
from visage.judging.networks.train import FaceNetworks
from visage.judging.pairs import BATCH, Pairings, at_rest, pairings
from visage.judging.results import Alone, Evaluation, Row
from visage.methods.eft.judging.drawn import drawn_alone, drawn_exchanged
from visage.methods.eft.judging.judges import Read, TransferJudges
from visage.methods.eft.judging.probes import probes
from visage.methods.eft.judging.regression import by_regression
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import UnitMap
from visage.models.condition import NEUTRAL, conditions

UNSEEN = ("identity", "identity_similarity", "au_agreement", "score")  # what an answer without a picture has
PICTURES = 96  # of the part, at most, that are told each action unit alone


def evaluate_transfer(
    generator: Disentangler,
    faces: FaceSet,
    networks: FaceNetworks,
    judge: Judge,
    *,
    device: str | torch.device = "cpu",
    beside: Generator | None = None,
    unit_map: UnitMap | None = None,
) -> Evaluation:
    """Judge `generator` on pairs of the test people, each source with several drivers of other people.

    Rows: model; copy, the source as it is; rest, a neutral picture of its person, see `at_rest`; its identity is
    measured against the source where it is itself the reference; constant, no picture, but the median action units of
    the training pictures, and the copy's identity; regression, see `regression.by_regression`; driver, the driver as it
    is; drawn, the true answer, where the faces were drawn; units, what the model makes by its `unit_map` when it is
    told the driver's labels of action units instead of shown the driver; named, what `beside`, a generator of (faces
    N,3,S,S, conditions N,K), makes when it is told the class of the driver's expression. Intervals are 95 % over the
    sources' people. Raises JudgesRefused when a judge is no better than chance.
    """
    judges = TransferJudges(Judges(networks, faces, "test", device, paired=False), judge)
    judges.judges.refuse_chance()
    pictures = judges.judges.pictures
    pairs = pairings(faces, "test")
    realism = Realism.of(*judges.judges.training_features())
    copy, rest = judges.real.take(pairs.source), at_rest(faces, pairs)
    answers = {
        "model": judges.read_all(generator, pairs),
        "copy": copy,
        "rest": judges.real.take(rest),
        "constant": replace(copy, units=np.broadcast_to(judges.constant, copy.units.shape)),
        "regression": judges.read_made(by_regression(judges), pairs),
        "driver": judges.real.take(pairs.driver),
    }
    if (drawn := drawn_exchanged(faces, device)) is not None:
        answers["drawn"] = judges.read_made(drawn, pairs)
    if unit_map is not None:
        unit_map.to(device)

        def told(some: Pairings) -> Tensor:  # what the labels do not say stays as in the source
            asked = torch.from_numpy(judges.labels.values[some.driver]).to(judges.device)
            return unit_map.told(generator, pictures(some.source), asked)

        answers["units"] = judges.read_made(told, pairs)
    if beside is not None:

        def named(some: Pairings) -> Tensor:
            shown = torch.from_numpy(faces.expression[some.driver]).to(judges.device)
            return beside(pictures(some.source), conditions(faces.expressions, shown))

        answers["named"] = judges.read_made(named, pairs)
    held = {"rest": replace(pairs, reference=np.where(rest == pairs.reference, pairs.source, pairs.reference))}
    rows = {name: _row(judges, held.get(name, pairs), read, realism, judge.bootstrap) for name, read in answers.items()}
    rows["constant"] = _without_picture(rows["constant"])
    return replace(
        evaluation(judges.judges, pairs.source, rows),
        judges=judges.accuracy,
        warnings=judges.warnings(),
        action_units={
            name: judges.agreements(read, pairs, judge.bootstrap)
            for name, read in answers.items()
            if name != "constant"
        },
        probes=probes(generator, judges, judge.bootstrap),
        labels=judges.labels.source,
        alone=None if unit_map is None else _alone(judges, generator, unit_map, judge.bootstrap),
    )


@torch.inference_mode()
def _alone(judges: TransferJudges, generator: Disentangler, unit_map: UnitMap, resamplings: int) -> dict[str, Alone]:
    """Of each unit that the map and the labels know, by its number, over faces of the part: neutral ones where there
    are any, as other faces show further units already."""
    members, drawn = judges.faces.part(judges.part), drawn_alone(judges)
    if NEUTRAL in judges.faces.expressions:
        rest = members[judges.faces.expression[members] == judges.faces.expressions.index(NEUTRAL)]
        members = rest if len(rest) else members
    chosen = np.sort(np.random.default_rng(0).permutation(members)[:PICTURES])
    people = judges.faces.identity[chosen]
    known = judges.labels.learnt & unit_map.known.cpu().numpy()
    inputs = [judges.judges.pictures(some) for some in np.array_split(chosen, -(-len(chosen) // BATCH))]
    found = {}
    for place in np.flatnonzero(known):
        at = []
        for value in (0.0, 1.0):
            asked = torch.full((BATCH, len(AUS)), float("nan"), device=judges.device)
            asked[:, place] = value
            made = (unit_map.told(generator, faces, asked[: len(faces)]) for faces in inputs)
            at.append(np.concatenate([judges.read(each).units for each in made]))
        moved = at[1] - at[0]
        others = np.abs(moved[:, known & (np.arange(len(AUS)) != place)]).mean(1)
        own, rest = (interval_over_people(v, people, resamplings) for v in (moved[:, place], others))
        found[str(AUS[place])] = Alone(own, rest, drawn.get(AUS[place]))
    return found


def _row(judges: TransferJudges, pairs: Pairings, read: Read, realism: Realism | None, bootstrap: int) -> Row:
    faces, metrics = judges.faces, judges.metrics(read, pairs, bootstrap)
    return row(
        faces, read, judges.columns(read, pairs), metrics, inputs=pairs.source, kinds=faces.expression[pairs.driver],
        targets=faces.path[pairs.driver], probability="au_agreement", realism=realism, bootstrap=bootstrap,
    )  # fmt: skip


def _without_picture(row: Row) -> Row:
    """What a row says that rests on no picture of the answer."""
    return replace(
        row,
        metrics={name: row.metrics[name] for name in UNSEEN},
        confusion=[[0] * len(counts) for counts in row.confusion],
        results=[replace(result, correct=False) for result in row.results],
    )
