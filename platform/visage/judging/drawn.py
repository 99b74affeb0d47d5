"""What the judge of action units reads where procedural people are drawn with one unit alone."""

import numpy as np
import torch

from visage.faces.facs import AUS
from visage.faces.synthetic import drawn_with
from visage.judging.transfer import TransferJudges
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
