"""The judges of a face set at work: what they say of real faces and of made ones, and whether they can be trusted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visage.config.experiment import FITTED
from visage.errors import JudgesRefused, UserError
from visage.faces.faceset import FaceSet
from visage.judging.metrics import (
    Estimate,
    Verification,
    false_accept_rate,
    genuine_and_impostors,
    interval_over_people,
    verification,
)
from visage.judging.networks.fit import real_inputs
from visage.judging.networks.train import FaceNetworks, resized
from visage.judging.pairs import BATCH, NONE, Pairs, Rows, check_people, spread
from visage.judging.results import RELIABLE
from visage.models.condition import conditions
from visage.models.pixels import as_input

FEW = 5  # people below whom an interval over them tells nothing
Generator = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Seen(Rows):
    """What the judges say of N faces. embedding: N,D unit vectors. probability: N,K. feature: N,F, for `frechet`."""

    embedding: np.ndarray
    probability: np.ndarray
    feature: np.ndarray


class Judges:
    """The judges of a face set, with what they say of the real faces of one part, which is asked once.

    seen: of all faces of the set, NaN outside the part. identity: how well the identity judge tells the part's people
    apart. accuracy: of both judges on the part's real faces. Raises UserError for judges of other expressions,
    and for a part with too little to judge. paired: somebody of it must show two expressions.
    """

    def __init__(
        self,
        networks: FaceNetworks,
        faces: FaceSet,
        part: str,
        device: str | torch.device = "cpu",
        *,
        paired: bool = True,
    ) -> None:
        if networks.expressions != faces.expressions:
            raise UserError(
                f"{faces.dir}: shows {', '.join(faces.expressions)}, and the judges were trained on "
                f"{', '.join(networks.expressions)}; use the judges of this face set."
            )
        self.faces, self.part, self.device = faces, part, torch.device(device)
        self.networks = networks
        self._identity = networks.identity_judge.to(self.device)
        self._expression = networks.expression_judge.to(self.device)
        check_people(faces, part, paired=paired)
        members = faces.part(part)
        batches = np.split(members, range(BATCH, len(members), BATCH))
        own = Seen.joined([self.judge(self.pictures(some)) for some in batches])
        self.seen = Seen(*(spread(values, members, len(faces.identity)) for values in vars(own).values()))
        genuine, impostors = genuine_and_impostors(own.embedding, faces.identity[members])
        self.identity: Verification = verification(genuine, impostors, false_accept_rate(len(impostors)))
        self._right = own.probability.argmax(1) == faces.expression[members]
        self.accuracy = {"identity": self.identity.true_accept_rate, "expression": float(self._right.mean())}

    def pictures(self, indexes: np.ndarray) -> Tensor:
        """Real faces as networks want them: N,3,S,S in [-1, 1], on the judges' device."""
        return real_inputs(self.faces, indexes, self.device)

    @torch.inference_mode()
    def judge(self, faces: Tensor) -> Seen:
        """What the judges say of faces N,3,H,W in [-1, 1]."""
        features = self._identity.features(faces)
        embedding, probability = self._identity.embed(features), self._expression(faces)
        pooled = self._identity.pooled(features)
        return Seen(*(value.cpu().numpy() for value in (embedding, probability, pooled)))

    def training_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Features N,F of the real training faces, and their expressions N: what `frechet` is measured from."""
        train = self.faces.part("train")
        batches = resized(self.faces, train).split(BATCH)
        seen = Seen.joined([self.judge(as_input(some.to(self.device))) for some in batches])
        return seen.feature, self.faces.expression[train]

    def generated(self, generator: Generator, pairs: Pairs, intensity: float = 1.0) -> Iterator[tuple[Pairs, Tensor]]:
        """Batch by batch: some of the pairs, and the faces that `generator` makes of them."""
        for some in pairs.batches():
            target = torch.from_numpy(some.target).to(self.device)
            with torch.inference_mode():
                condition = conditions(self.faces.expressions, target, intensity)
                made = generator(self.pictures(some.input), condition).float()
            yield some, made

    def columns(self, seen: Seen, pairs: Pairs, reference: np.ndarray) -> dict[str, np.ndarray]:
        """What faces score, pair by pair, as `estimates` reads it. reference: N pictures that identity is held to."""
        similarity = np.einsum("nd,nd->n", seen.embedding, self.seen.embedding[reference]).astype(float)
        of_target = seen.probability[np.arange(len(pairs)), pairs.target].astype(float)
        before = self.seen.probability[pairs.input, pairs.target]
        known = pairs.truth != NONE
        truth = np.where(known, self.seen.probability[pairs.truth, pairs.target], np.nan)
        return {
            "identity": (similarity > self.identity.threshold).astype(float),
            "identity_similarity": similarity,
            "expression": (seen.probability.argmax(1) == pairs.target).astype(float),
            "expression_probability": of_target,
            "change": np.where(known, of_target - before, np.nan),
            "true_change": truth - before,
        }

    def answers(self, generator: Generator, pairs: Pairs, intensity: float = 1.0) -> tuple[Seen, dict[str, np.ndarray]]:
        """What they say of all that `generator` makes of the pairs, and what it scores; see `columns`."""
        seen = Seen.joined([self.judge(made) for _, made in self.generated(generator, pairs, intensity)])
        return seen, self.columns(seen, pairs, pairs.reference)

    @torch.inference_mode()
    def fidelity(self, made: Tensor, pairs: Pairs) -> dict[str, np.ndarray]:
        """ssim, psnr (dB) and l1 (of 0..1) against the true face, NaN where there is none."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        places = np.flatnonzero(pairs.truth != NONE)
        if not len(places):
            return {name: np.full(len(pairs), np.nan) for name in ("ssim", "psnr", "l1")}
        a = (made[torch.from_numpy(places).to(made.device)].clamp(-1, 1) + 1) / 2
        b = (self.pictures(pairs.truth[places]) + 1) / 2
        error = (a - b).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)  # 100 dB and not infinity for equal faces
        found: dict[str, Any] = {
            "ssim": structural_similarity_index_measure(a, b, reduction="none", data_range=1.0),
            "psnr": -10 * error.log10(),
            "l1": (a - b).abs().mean(dim=(1, 2, 3)),
        }
        return {name: spread(values.cpu().numpy(), places, len(pairs)) for name, values in found.items()}

    def reliability(self) -> dict[str, Estimate]:
        """Accuracy of both judges on the part's real faces, with 95 % intervals over its people."""
        members = self.faces.part(self.part)
        names = self.faces.identity[members]
        first, second = np.triu_indices(len(names), 1)
        same = names[first] == names[second]
        embedding = self.seen.embedding[members]
        similar = np.einsum("nd,nd->n", embedding[first[same]], embedding[second[same]])
        told = interval_over_people((similar > self.identity.threshold).astype(float), names[first[same]])
        return {"identity": told, "expression": interval_over_people(self._right.astype(float), names)}

    def refuse_chance(self) -> None:
        """Raises JudgesRefused when a judge does no better than chance on the part's real faces.

        Chance is the false accept rate for verification, and for the expressions the share of the commonest one. A
        judge must lie above it with the whole of its 95 % interval; of fewer than FEW people, over whom an interval
        tells nothing, with its value.
        """
        members = self.faces.part(self.part)
        commonest = np.bincount(self.faces.expression[members]).max() / len(members)
        chance = {"identity": self.identity.allowed, "expression": float(commonest)}
        verb = {"identity": "recognises", "expression": "reads"}
        people = len(np.unique(self.faces.identity[members]))
        for name, found in self.reliability().items():
            if (found.value if people < FEW else found.low) <= chance[name]:
                outside = self.networks.judged_by[name] != FITTED
                mend = "set judge.networks=fitted" if outside else "add people or pictures"
                raise JudgesRefused(
                    f"{self.faces.dir}: the {name} judge {verb[name]} {found.value:.2f} ({found.low:.2f} to "
                    f"{found.high:.2f}) of the real faces of {people} {self.part} people, no better than the "
                    f"{chance[name]:.3g} of chance, so it can judge nothing; {mend}, or give faces "
                    "that show the expressions more clearly."
                )

    def warnings(self) -> list[str]:
        """One sentence for each judge that is too poor on real faces for its figures to be trusted."""
        named = {"identity": "a verification rate", "expression": "an accuracy"}
        people = len(np.unique(self.faces.identity[self.faces.part(self.part)]))
        return [
            f"the {name} judge reaches {named[name]} of {value:.2f} on the real faces of {people} {self.part} "
            f"people, below {RELIABLE}: do not trust the {name} figures."
            for name, value in self.accuracy.items()
            if not value >= RELIABLE  # NaN, where there is nothing to verify, is as poor
        ]
