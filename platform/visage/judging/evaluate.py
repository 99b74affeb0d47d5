"""Measure a generator on people it never saw, beside the real faces and the answers that need no generator."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.fit import as_input
from visage.judging.metrics import (
    Verification,
    estimates,
    genuine_and_impostors,
    verification,
)
from visage.judging.pairs import NONE, Pairs, pairs
from visage.judging.results import Evaluation, FaceResult, Row
from visage.judging.train import FaceNetworks, apply

FALSE_ACCEPT_RATE = 0.01
RELIABLE = 0.9
BATCH = 64
Generator = Callable[[Tensor, Tensor], Tensor]


class Judges:
    """The judges of a face set, with what they say of the real faces of one part, which is asked once.

    embedding, probability: N,D and N,K over the whole face set, NaN outside the part. identity: how well the identity
    judge tells the part's people apart. accuracy: of both judges on the part's real faces.
    """

    def __init__(self, networks: FaceNetworks, faces: FaceSet, part: str, device: str | torch.device = "cpu") -> None:
        self.faces, self.part, self.device = faces, part, torch.device(device)
        self.networks = networks
        self._identity = networks.identity_judge.to(self.device)
        self._expression = networks.expression_judge.to(self.device)
        members = faces.part(part)
        if not len(members):
            raise UserError(f"{faces.dir}: the {part} part has nobody to judge; give it a larger share.")
        embedding, probability = self.judge(self.pictures(members))
        self.embedding = np.full((len(faces.identity), embedding.shape[1]), np.nan)
        self.probability = np.full((len(faces.identity), probability.shape[1]), np.nan)
        self.embedding[members], self.probability[members] = embedding, probability
        genuine, impostors = genuine_and_impostors(embedding, faces.identity[members])
        if not len(impostors):
            raise UserError(f"{faces.dir}: the {part} part has one person; identity needs two, so enlarge its share.")
        self.identity: Verification = verification(genuine, impostors, FALSE_ACCEPT_RATE)
        right = probability.argmax(1) == faces.expression[members]
        self.accuracy = {"identity": self.identity.true_accept_rate, "expression": float(right.mean())}

    def pictures(self, indexes: np.ndarray) -> Tensor:
        """Real faces as networks want them: N,3,S,S in [-1, 1], on the judges' device."""
        # A memory map is read in its own order; fancy indexing copies what is asked.
        picked = torch.from_numpy(np.ascontiguousarray(self.faces.faces[indexes])).to(self.device)
        return as_input(picked.permute(0, 3, 1, 2)).contiguous()

    def judge(self, faces: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings N,D and probabilities N,K of faces N,3,H,W in [-1, 1]."""
        return apply(self._identity, faces).cpu().numpy(), apply(self._expression, faces).cpu().numpy()

    def warnings(self) -> list[str]:
        """One sentence for each judge that is too poor on real faces for its figures to be trusted."""
        named = {"identity": "verification rate", "expression": "accuracy"}
        people = len(np.unique(self.faces.identity[self.faces.part(self.part)]))
        return [
            f"the {name} judge reaches a {named[name]} of {value:.2f} on the real faces of {people} {self.part} "
            f"people, below {RELIABLE}: do not trust the {name} figures."
            for name, value in self.accuracy.items()
            if not value >= RELIABLE  # NaN, where there is nothing to verify, is as poor
        ]

    def columns(
        self, seen: tuple[np.ndarray, np.ndarray], pairs: Pairs, reference: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What faces score, pair by pair, as `estimates` reads it.

        seen: embeddings N,D and probabilities N,K of the faces. reference: N pictures that identity is held against.
        """
        embedding, probability = seen
        similarity = np.einsum("nd,nd->n", embedding, self.embedding[reference]).astype(float)
        of_target = probability[np.arange(len(pairs)), pairs.target].astype(float)
        before = self.probability[pairs.input, pairs.target]
        known = pairs.truth != NONE
        truth = np.where(known, self.probability[pairs.truth, pairs.target], np.nan)
        return {
            "identity": (similarity > self.identity.threshold).astype(float),
            "identity_similarity": similarity,
            "expression": (probability.argmax(1) == pairs.target).astype(float),
            "expression_probability": of_target,
            "change": np.where(known, of_target - before, np.nan),
            "true_change": truth - before,
        }

    def fidelity(self, made: Tensor, pairs: Pairs) -> dict[str, np.ndarray]:
        """ssim, psnr (dB) and l1 (of 0..1) against the true face, NaN where there is none."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        found = {name: np.full(len(pairs), np.nan) for name in ("ssim", "psnr", "l1")}
        places = np.flatnonzero(pairs.truth != NONE)
        if len(places):
            a = (made[torch.from_numpy(places).to(made.device)].clamp(-1, 1) + 1) / 2
            b = (self.pictures(pairs.truth[places]) + 1) / 2
            ssim = structural_similarity_index_measure(a, b, reduction="none", data_range=1.0)
            error = (a - b).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)  # 100 dB and not infinity for equal faces
            found["ssim"][places] = ssim.cpu().numpy()  # type: ignore[union-attr]
            found["psnr"][places] = (-10 * error.log10()).cpu().numpy()
            found["l1"][places] = (a - b).abs().mean(dim=(1, 2, 3)).cpu().numpy()
        return found

    @torch.inference_mode()
    def measured(self, generator: Generator, pairs: Pairs, *, fidelity: bool) -> dict[str, np.ndarray]:
        """`columns`, and with `fidelity` its values too, of the generator's faces at full intensity."""
        conditions = torch.eye(len(self.faces.expressions), device=self.device)
        parts = []
        for start in range(0, len(pairs), BATCH):
            some = pairs.take(np.arange(start, min(start + BATCH, len(pairs))))
            target = torch.from_numpy(some.target).to(self.device)
            made = generator(self.pictures(some.input), conditions[target]).float()
            found = self.columns(self.judge(made), some, some.reference)
            parts.append({**found, **(self.fidelity(made, some) if fidelity else {})})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def quick(judges: Judges, generator: Generator, pairs: Pairs) -> dict[str, float]:
    """The metrics that rest on the judges, without intervals: for training and search on validation people."""
    found = estimates(judges.measured(generator, pairs, fidelity=False), [""] * len(pairs), resamplings=1)
    return {name: estimate.value for name, estimate in found.items()}


def evaluate(
    generator: Generator | None,
    faces: FaceSet,
    networks: FaceNetworks,
    part: str = "test",
    *,
    bootstrap: int = 2_000,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Evaluation:
    """Judge `generator` (None: only the rows that need none) on all pairs of a part's people.

    generator: (faces N,3,S,S in [-1, 1], conditions N,K) -> faces. Rows: model; real, the true faces; copy, the inputs
    as they are; mean_face, the mean training face of the target expression. Intervals are 95 % over people.
    """
    judges = Judges(networks, faces, part, device)
    asked = pairs(faces, part, seed=seed)
    true = asked.take(np.flatnonzero(asked.truth != NONE))
    mean = mean_faces(faces).to(judges.device)
    made: dict[str, Generator] = {} if generator is None else {"model": generator}
    made |= {"copy": lambda inputs, _: inputs, "mean_face": lambda _, conditions: mean[conditions.argmax(1)]}
    rows: dict[str, Row] = {}
    for name in ("model", "real", "copy", "mean_face"):
        if name == "real" and len(true):
            seen = judges.embedding[true.truth], judges.probability[true.truth]
            rows[name] = _row(judges, true, judges.columns(seen, true, true.real_reference), bootstrap, seed)
        elif name in made:
            rows[name] = _row(judges, asked, judges.measured(made[name], asked, fidelity=True), bootstrap, seed)
    return Evaluation(
        part=part,
        expressions=faces.expressions,
        faces_sha256=faces.sha256,
        networks=networks.sha256,
        people=len(np.unique(faces.identity[asked.input])),
        pairs=len(asked),
        judges=judges.accuracy,
        verification=judges.identity,
        warnings=judges.warnings(),
        rows=rows,
    )


def mean_faces(faces: FaceSet) -> Tensor:
    """The mean training face of each expression: K,3,S,S in [-1, 1]; grey where there is none."""
    train = faces.part("train")
    found = torch.zeros(len(faces.expressions), 3, faces.size, faces.size)
    for kind in np.unique(faces.expression[train]):
        shown = train[faces.expression[train] == kind]
        total = np.zeros(faces.faces.shape[1:])
        for picture in shown:
            total += faces.faces[picture]
        found[kind] = as_input(torch.from_numpy(total / len(shown))).permute(2, 0, 1)
    return found


def _row(judges: Judges, pairs: Pairs, columns: dict[str, np.ndarray], bootstrap: int, seed: int) -> Row:
    people = judges.faces.identity[pairs.input]
    results = [
        FaceResult(
            identity=str(people[k]),
            input=str(judges.faces.path[pairs.input[k]]),
            target=judges.faces.expressions[pairs.target[k]],
            similarity=float(columns["identity_similarity"][k]),
            probability=float(columns["expression_probability"][k]),
            verified=bool(columns["identity"][k]),
            correct=bool(columns["expression"][k]),
        )
        for k in range(len(pairs))
    ]
    metrics = estimates(columns, people.tolist(), bootstrap, seed)
    return Row(metrics, len(np.unique(people)), len(pairs), results)
