"""The judge of action units: fitted once per face set to real faces of the training people, and of those who are
there for it alone, and stored with it.

It is no network of the method, and stands beside the others of a face set, so that those stay what they are.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from visage.config.experiment import Judge
from visage.faces.action_units import action_units
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.faces.split import READING
from visage.infra.files import write_whole
from visage.judging.networks.linear import fit_unit_judge
from visage.judging.networks.train import resized
from visage.models.judges import Trunk, UnitJudge

FORMAT = 1
FILE = "unit_judge.safetensors"
LOPSIDED, TURN = "lopsided", "turn"


def unit_judge(faces: FaceSet, judge: Judge) -> UnitJudge:
    """The judge of `faces`, in eval mode, without gradients, on the CPU: the one in DIR, else newly fitted and stored.

    It reads `au_N` of all AUS, and `lopsided` and `turn` (degrees) where the face set knows them. Raises UserError
    where the set knows no action units, and NotWritten.
    """
    values = _values(faces)
    names = list(values)
    wanted = {"format": FORMAT, "faces": faces.sha256, "images": judge.images, "seed": judge.seed, "names": names}
    wanted["values"] = hashlib.sha256(
        np.stack(list(values.values())).tobytes() + "".join(faces.split).encode()
    ).hexdigest()
    network = UnitJudge(names)
    text, path = json.dumps(wanted, sort_keys=True), faces.dir / FILE
    if not _load(network, path, text):
        network.trunk = Trunk.pretrained()
        learn = np.concatenate([faces.part("train"), faces.part(READING)])
        known = torch.from_numpy(np.stack([value[learn] for value in values.values()], axis=1))
        fit_unit_judge(network, resized(faces, learn), known, judge.images, judge.seed)
        weights = {key: value.contiguous() for key, value in network.state_dict().items()}
        write_whole(path, save(weights, {"judge": text}))
    return network.eval().requires_grad_(False)


def _values(faces: FaceSet) -> dict[str, np.ndarray]:
    """What is to be read of each face, N each."""
    units = action_units(faces).values
    found = {f"au_{au}": units[:, place] for place, au in enumerate(AUS)}
    if faces.lopsided.any():
        found[LOPSIDED] = faces.lopsided
    if faces.turn is not None and np.ptp(faces.turn) > 1:
        found[TURN] = faces.turn
    return found


def _load(network: UnitJudge, path: Path, wanted: str) -> bool:
    """Whether the file held the judge that is wanted, and gave its weights to the network."""
    try:
        with safe_open(path, framework="pt") as file:
            if file.metadata().get("judge") != wanted:
                return False
            network.load_state_dict({key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError, AttributeError):  # not there, or damaged
        return False
    return True
