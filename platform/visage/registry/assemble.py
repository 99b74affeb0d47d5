"""From a finished training to its bundle."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from visage.config import shareable
from visage.methods import method_of
from visage.methods.requests import Request
from visage.registry.bundle import Bundle, write_bundle

if TYPE_CHECKING:
    from visage.config import Experiment
    from visage.faces.faceset import FaceSet
    from visage.judging.results import Evaluation
    from visage.judging.train import FaceNetworks
    from visage.methods.base import Extras
    from visage.models.generator import Network
    from visage.models.judges import NaturalCheck

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
PAIRS = 512  # for the self-check's quantiles
BATCH = 64


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
    extras: "Extras" = MappingProxyType({}),
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
        extras=extras,
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

    from visage.judging.fit import real_inputs

    asked, targets = request.of_people(faces, "test", PAIRS)
    device = next(generator.parameters()).device
    encoder, check = networks.encoder.to(device), networks.check.to(device)
    pictures = partial(real_inputs, faces, device=device)
    values: dict[str, list[float]] = {"identity_similarity": [], "expression_confidence": []}
    if natural is not None:
        natural, values["natural"] = natural.to(device), []
    with torch.inference_mode():
        for start in range(0, len(asked.source), BATCH):
            part = slice(start, start + BATCH)
            inputs = pictures(asked.source[part])
            columns = {name: column[part] for name, column in asked.columns.items()}
            outputs = generator(inputs, request.second(columns, pictures, faces.expressions).to(device))
            target = torch.from_numpy(targets[part]).to(device)
            values["identity_similarity"] += (encoder(inputs) * encoder(outputs)).sum(1).tolist()
            values["expression_confidence"] += check(outputs)[torch.arange(len(inputs)), target].tolist()
            if natural is not None:
                values["natural"] += natural(outputs).tolist()
    return {name: {str(q): float(np.quantile(value, q)) for q in QUANTILES} for name, value in values.items()}
