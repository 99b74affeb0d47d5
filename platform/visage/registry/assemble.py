"""From a finished training to its bundle."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.config import shareable
from visage.methods import method_of
from visage.methods.base import NONE, Extras
from visage.methods.requests import Asked, Request
from visage.registry.bundle import Bundle, write_bundle

if TYPE_CHECKING:
    from torch import Tensor

    from visage.config import Experiment
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.natural import Fitted
    from visage.judging.networks.train import FaceNetworks
    from visage.judging.results import Evaluation
    from visage.models.generator import Network
    from visage.models.judges import NaturalCheck
    from visage.registry.card import Eyes
    from visage.registry.samples import Samples

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PAIRS = 512  # for the self-check's quantiles
BATCH = 64
LEARNT, HELD = 1_024, 512  # faces of training and of validation people that the check of mouths is fitted to
INTENSITIES = (0.5, 1.2)  # of those that are learnt


def bundle_training(
    out: Path,
    *,
    generator: "Network",
    experiment: "Experiment",
    faces: "FaceSet",
    networks: "FaceNetworks",
    evaluation: "Evaluation",
    faces_png: bytes,
    run_id: str,
    natural: "NaturalCheck | None" = None,
    samples: "Samples | None" = None,
    extras: Extras = NONE,
    eyes: "Eyes | None" = None,
) -> Bundle:
    """Write the bundle of a generator and of its evaluation on the test people; see `write_bundle`.

    networks: those of the face set, whose encoder and check become the self-check, with `natural`, the generator's own.
    """
    people = {part: len(np.unique(faces.identity[faces.part(part)])) for part in ("train", "validation", "test")}
    return write_bundle(
        out,
        generator=generator,
        encoder=networks.encoder,
        check=networks.check,
        faces_png=faces_png,
        results=({"row": name, **asdict(result)} for name, row in evaluation.rows.items() for result in row.results),
        method=experiment.method.name,
        expressions=faces.expressions,
        config=shareable(experiment),
        evaluation=evaluation.without_results().to_dict(),
        metrics={name: asdict(estimate) for name, estimate in evaluation.rows["model"].metrics.items()},
        data={
            "name": faces.name,
            "layout": faces.layout,
            "sha256": evaluation.faces_sha256,
            "licence": faces.licence,
            "people": people,
            "judges": evaluation.networks,
        },
        run_id=run_id,
        self_check=reference_quantiles(generator, method_of(experiment.method.name).request, faces, networks, natural),
        natural=natural,
        samples=samples,
        extras=extras,
        eyes=eyes,
    )


def reference_quantiles(
    generator: "Network",
    request: Request,
    faces: "FaceSet",
    networks: "FaceNetworks",
    natural: "NaturalCheck | None" = None,
) -> dict[str, dict[str, float]]:
    """Quantiles of the endpoint's self-check values on the test people, at full intensity.

    identity_similarity: cosine of the encoder's vectors of input and output. expression_confidence: the check's
    probability of the target. natural: of the check of that name, where there is one.
    """
    import torch

    asked, targets = request.of_people(faces, "test", PAIRS)
    device = next(generator.parameters()).device
    encoder, check = networks.encoder.to(device), networks.check.to(device)
    values: dict[str, list[float]] = {"identity_similarity": [], "expression_confidence": []}
    if natural is not None:
        natural, values["natural"] = natural.to(device), []
    wanted = torch.from_numpy(targets).split(BATCH)
    with torch.inference_mode():
        for (inputs, outputs), target in zip(answers(generator, request, faces, asked, BATCH), wanted, strict=True):
            values["identity_similarity"] += (encoder(inputs) * encoder(outputs)).sum(1).tolist()
            read = check(outputs)[torch.arange(len(inputs)), target.to(device)]
            values["expression_confidence"] += read.tolist()
            if natural is not None:
                values["natural"] += natural(outputs).tolist()
    return {name: {str(q): float(np.quantile(value, q)) for q in QUANTILES} for name, value in values.items()}


def natural_check(generator: "Network", request: Request, faces: "FaceSet", images: int, seed: int) -> "Fitted":
    """The check of a generator's mouths, and what it is worth; see `judging.networks.natural`.

    images: to be seen, half of them damaged. No test person is looked at. Raises UserError for too few people.
    """
    import torch

    from visage.judging.networks.fit import BATCH
    from visage.judging.networks.natural import fit_natural
    from visage.models.pixels import as_pixels

    random, parts = np.random.default_rng(seed), []
    for part, limit in (("train", LEARNT), ("validation", HELD)):
        asked, _ = request.of_people(faces, part, limit, seed)
        if part == "train" and "intensity" in asked.columns:  # few people in several intensities
            again = np.arange(LEARNT) % len(asked.source)
            columns = {name: column[again] for name, column in asked.columns.items()}
            columns["intensity"] = random.uniform(*INTENSITIES, len(again)).astype(np.float32)
            asked = Asked(asked.source[again], columns)
        batches = answers(generator, request, faces, asked, BATCH)
        parts.append(torch.cat([as_pixels(outputs).cpu() for _, outputs in batches]))
    learn = np.sort(random.permutation(faces.part("train"))[:LEARNT])
    real = torch.from_numpy(np.ascontiguousarray(faces.faces[learn])).permute(0, 3, 1, 2)
    return fit_natural(parts[0], real, parts[1], images, seed)


def sample_faces(
    generator: "Network", request: Request, faces: "FaceSet", natural: "NaturalCheck | None"
) -> "Samples | None":
    """Faces for the endpoint's page, of a set of photographs: those of which the generator makes no damaged mouth, by
    its own check where that tells; None of drawn faces, which the page draws itself."""
    import torch

    from visage.models.pixels import as_input
    from visage.registry.samples import make_samples

    if faces.layout == "synthetic":
        return None
    device, kinds = next(generator.parameters()).device, len(faces.expressions)

    def worth(candidates: np.ndarray, showing: np.ndarray) -> np.ndarray:
        """The least natural of what becomes of each candidate."""
        assert natural is not None
        count = len(candidates)
        inputs = as_input(torch.from_numpy(np.concatenate([candidates, showing])).permute(0, 3, 1, 2).to(device))
        kind = np.tile(np.arange(kinds), count)
        asked: dict[str, np.ndarray] = {
            "expression": kind, "intensity": np.ones(len(kind), np.float32), "driver": count + kind,
        }  # fmt: skip
        columns = {name: asked[name] for name in request.columns}
        second = request.second(columns, lambda places: inputs[torch.from_numpy(places)], faces.expressions)
        check, sources = natural.to(device), inputs[:count].repeat_interleave(kinds, 0)
        with torch.inference_mode():
            parts = zip(sources.split(BATCH), second.to(device).split(BATCH), strict=True)
            values = torch.cat([check(generator(source, part)) for source, part in parts])
        return values.reshape(count, kinds).amin(1).float().cpu().numpy()

    return make_samples(faces, worth if natural is not None else None)


def answers(
    generator: "Network", request: Request, faces: "FaceSet", asked: Asked, batch: int
) -> "Iterator[tuple[Tensor, Tensor]]":
    """What a generator makes of a face set's faces, batch by batch: inputs and results N,3,S,S in [-1, 1]."""
    import torch

    from visage.judging.networks.fit import real_inputs

    device = next(generator.parameters()).device
    pictures = partial(real_inputs, faces, device=device)
    for start in range(0, len(asked.source), batch):
        part = slice(start, start + batch)
        columns = {name: column[part] for name, column in asked.columns.items()}
        with torch.inference_mode():
            inputs = pictures(asked.source[part])
            outputs = generator(inputs, request.second(columns, pictures, faces.expressions).to(device))
        yield inputs, outputs
