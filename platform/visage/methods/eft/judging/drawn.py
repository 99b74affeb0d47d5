"""What the judges say where the renderer draws what is asked for: procedural people alone have true answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from visage.faces.action_units import action_units
from visage.faces.faceset import EXACT, FaceSet
from visage.faces.facs import AUS
from visage.faces.synthetic import drawn_with, exchanged
from visage.judging.pairs import Pairings
from visage.methods.eft.judging.judges import TransferJudges
from visage.models.pixels import as_input

PEOPLE = 32  # of the part, at most


def drawn_alone(judges: TransferJudges) -> dict[int, float]:
    """By FACS number, by how much a unit moves from a face at rest to that face with the unit at 1, on average over
    people of the part; nothing where the set is of no further people who show units."""
    faces = judges.faces
    settings = faces.facts["settings"]
    if not settings.get("units"):
        return {}
    people = [int(name.rpartition("p")[2]) for name in np.unique(faces.identity[faces.part(judges.part)])[:PEOPLE]]
    asked: list[dict[int, float]] = [{}, *({au: 1.0} for au in AUS)]
    found = []
    for person in people:
        shown = [drawn_with(aus, person, faces.size, settings["seed"], settings["turn"]) for aus in asked]
        pictures = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).to(judges.device)
        units = judges.read(as_input(pictures)).units
        found.append(np.diag(units[1:] - units[:1]))
    return dict(zip(AUS, np.mean(found, axis=0).tolist(), strict=True))


def drawn_exchanged(faces: FaceSet, device: str | torch.device) -> Callable[[Pairings], Tensor] | None:
    """Makes of pairs the true answers: the source's person, light and pose with the driver's action units, drawn. They
    are as good as the judges let any answer be. None where the faces were not drawn."""
    labels = action_units(faces)
    if labels.source != EXACT or "turn" not in (settings := faces.facts["settings"]):
        return None

    def one(source: int, driver: int) -> np.ndarray:
        session, _, variant = Path(str(faces.path[source])).stem.rpartition("_")[2].partition("-")
        return exchanged(
            dict(zip(AUS, labels.values[driver].tolist(), strict=True)),
            float(faces.lopsided[driver]),
            int(str(faces.identity[source]).rpartition("p")[2]),
            faces.expressions[faces.expression[source]],
            int(session),
            faces.size,
            settings["seed"],
            settings["nuisance"],
            turn=settings["turn"],
            variant=variant or "full",  # type: ignore[arg-type]
        )

    def make(some: Pairings) -> Tensor:
        pictures = np.stack([one(*pair) for pair in zip(some.source, some.driver, strict=True)])
        return as_input(torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device))

    return make
