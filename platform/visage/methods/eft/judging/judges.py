"""Judges the transfer of expressions: whose face the result is, and whether its action units are the driver's."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from visage.config.experiment import Judge
from visage.faces.action_units import SOURCES, action_units
from visage.faces.facs import AUS
from visage.judging.judges import Generator, Judges, Seen
from visage.judging.metrics import Estimate, interval
from visage.judging.pairs import BATCH, Pairings, at_rest, spread
from visage.judging.results import RELIABLE, Agreement
from visage.methods.eft.judging.agreement import (
    agreement,
    correlations,
    f1_scores,
    mean_interval,
    transfer_estimates,
    weights_of,
)
from visage.methods.eft.judging.unit_judge import LOPSIDED, TURN, unit_judge

TYPICAL = 1_024  # training pictures, at most, that the constant reading is made of


@dataclass(frozen=True)
class Read(Seen):
    """What the judges say of N faces. units: N,U in 0..1; lopsided, turn (degrees): N, NaN where it is not read."""

    units: np.ndarray
    lopsided: np.ndarray
    turn: np.ndarray


class TransferJudges:
    """The judges of a face set for transfers, with what they say of the real faces of one part.

    real: of all faces of the set; NaN outside the part. constant: of each unit, the median of what they read in the
    training pictures, which of all readings that are the same for everybody is the nearest on average. accuracy: of
    the judges on the part's real faces; that of action units is the mean correlation of what is read with the labels.
    """

    def __init__(self, judges: Judges, judge: Judge) -> None:
        self.judges, self.faces, self.part, self.device = judges, judges.faces, judges.part, judges.device
        self.labels = action_units(self.faces)
        self.network = unit_judge(self.faces, judge).to(self.device)
        members = self.faces.part(self.part)
        own = [self._read(judges.pictures(some)) for some in np.array_split(members, -(-len(members) // BATCH))]
        numbers = (np.concatenate(parts) for parts in zip(*own, strict=True))
        whole = (spread(values, members, len(self.faces.identity)) for values in numbers)
        self.real = Read(*vars(judges.seen).values(), *whole)
        learn = self.faces.part("train")
        some = learn[np.unique(np.linspace(0, len(learn) - 1, min(TYPICAL, len(learn))).astype(int))]
        batches = np.array_split(some, -(-len(some) // BATCH))
        self.constant = np.median(np.concatenate([self._read(judges.pictures(each))[0] for each in batches]), axis=0)
        truth, read = self.labels.values[members], self.real.units[members]
        found = correlations(truth[:, self.labels.known], read[:, self.labels.known], np.ones((1, len(members))))
        self.accuracy = {**judges.accuracy, "action_units": float(np.nanmean(found)) if found.size else float("nan")}

    @torch.inference_mode()
    def _read(self, made: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """units, lopsided and turn of faces, as of `Read`."""
        numbers = dict(zip(self.network.names, self.network(made).cpu().numpy().T, strict=True))
        units = np.stack([numbers[f"au_{au}"] for au in AUS], axis=1).clip(0, 1)
        nothing = np.full(len(made), np.nan)
        return units, numbers.get(LOPSIDED, nothing), numbers.get(TURN, nothing)

    def read(self, made: Tensor) -> Read:
        """What the judges say of faces N,3,H,W in [-1, 1]."""
        units, lopsided, turn = self._read(made)
        return Read(**vars(self.judges.judge(made)), units=units, lopsided=lopsided, turn=turn)

    @torch.inference_mode()
    def read_made(self, make: Callable[[Pairings], Tensor], pairs: Pairings) -> Read:
        """What the judges say of the faces that `make` makes of the pairs, of some of them at a time."""
        return Read.joined([self.read(make(some).float()) for some in pairs.batches()])

    def read_all(self, transfer: Generator, pairs: Pairings) -> Read:
        """The same of what `transfer` makes of sources and drivers, N,3,S,S in [-1, 1] each."""
        pictures = self.judges.pictures
        return self.read_made(lambda some: transfer(pictures(some.source), pictures(some.driver)), pairs)

    def columns(self, read: Read, pairs: Pairings) -> dict[str, np.ndarray]:
        """What results score, pair by pair, as `agreement.transfer_estimates` reads it."""
        real = self.real
        similarity = np.einsum("nd,nd->n", read.embedding, real.embedding[pairs.reference]).astype(float)
        wanted = self.faces.expression[pairs.driver]
        found = {
            "identity": (similarity > self.judges.identity.threshold).astype(float),
            "identity_similarity": similarity,
            "expression": (read.probability.argmax(1) == wanted).astype(float),
            "expression_probability": read.probability[np.arange(len(pairs)), wanted].astype(float),
            "au_agreement": agreement(self._missed(read.units, pairs), self.driverless(pairs)),
        }
        if not np.isnan(read.turn).any():
            found["pose_error"] = np.abs(read.turn - real.turn[pairs.source])
        return found

    def _missed(self, units: np.ndarray, pairs: Pairings) -> np.ndarray:
        """How far units N,U are from the drivers', on average over those that the labels know: N."""
        return np.abs(units - self.real.units[pairs.driver])[:, self.labels.known].mean(1)

    def driverless(self, pairs: Pairings) -> float:
        """How far the best answer that does not look at the driver is from the drivers' units, on average: the source
        as it is, at rest, or `constant`."""
        real = self.real.units
        answers = (real[pairs.source], real[at_rest(self.faces, pairs)], self.constant)
        return float(min(self._missed(units, pairs).mean() for units in answers))

    def metrics(self, read: Read, pairs: Pairings, resamplings: int) -> dict[str, Estimate]:
        """All metrics of a row, with 95 % intervals over the sources' people."""
        people = self.faces.identity[pairs.source]
        found = transfer_estimates(self.columns(read, pairs), people, resamplings)
        truth, known = self.labels.values[pairs.driver], self.labels.known
        weights = weights_of(people, resamplings)
        found["au_correlation"] = mean_interval(correlations(truth[:, known], read.units[:, known], weights))
        found["au_f1"] = mean_interval(f1_scores(truth[:, known], read.units[:, known], weights))
        fine = (self.faces.intensity[pairs.driver] != 1) | (self.faces.lopsided[pairs.driver] != 0)
        if fine.any():
            some = correlations(truth[fine][:, known], read.units[fine][:, known], weights[:, fine])
            found["au_correlation_fine"] = mean_interval(some)
        if not np.isnan(read.lopsided).any():
            sides = self.faces.lopsided[pairs.driver].astype(float)[:, None]
            found["lopsided_correlation"] = interval(correlations(sides, read.lopsided[:, None], weights)[:, 0])
        return found

    def agreements(self, read: Read, pairs: Pairings, resamplings: int) -> dict[str, Agreement]:
        """Of each action unit by its number, those that the labels know."""
        weights = weights_of(self.faces.identity[pairs.source], resamplings)
        truth = self.labels.values[pairs.driver]
        pearson, f1 = (f(truth, read.units, weights) for f in (correlations, f1_scores))
        return {
            str(au): Agreement(interval(pearson[:, place]), interval(f1[:, place]))
            for place, au in enumerate(AUS)
            if self.labels.known[place]
        }

    def warnings(self) -> list[str]:
        """As of `Judges`, with one for a judge of action units that reads real faces poorly, one for weak labels."""
        found, value = self.judges.warnings(), self.accuracy["action_units"]
        if not value >= RELIABLE:
            found.append(
                f"the judge of action units reaches a correlation of {value:.2f} with the labels of real faces, below "
                f"{RELIABLE}: do not trust the figures of action units."
            )
        if self.labels.source == "prototype":
            found.append(f"the labels of action units are {SOURCES['prototype']}.")
        return found


def quick_transfer(judges: TransferJudges, transfer: Generator, pairs: Pairings) -> dict[str, float]:
    """The metrics without intervals: for training and search on validation people."""
    found = judges.metrics(judges.read_all(transfer, pairs), pairs, resamplings=1)
    return {name: figure.value for name, figure in found.items()}
