"""The judges and the small networks of a face set: trained once, stored with it under a hash, then loaded."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from visage.config.experiment import Judge
from visage.errors import UserError
from visage.faces.align import inner_face_mask
from visage.faces.faceset import FaceSet
from visage.infra.files import locked, replace_folder
from visage.infra.remote_store import Store
from visage.judging.networks.fit import fit_check, seeded
from visage.judging.networks.linear import dimensions_for, fit_expression_judge, fit_identity
from visage.judging.networks.outside import as_asked, choose, outside_judges
from visage.judging.networks.reach import Doubts, apply, doubts, reached
from visage.models.identity import CompactEncoder, RTrunk
from visage.models.judges import ExpressionCheck, ExpressionJudge, IdentityJudge, Trunk
from visage.models.outside import OUTSIDE, OutsideExpression, OutsideIdentity
from visage.models.reader import ExpressionReader

FORMAT = 6
CARD = "networks.json"
LOCK = ".networks.lock"
# By the names in their `architecture()`.
KINDS: dict[str, Callable[..., nn.Module]] = {
    "identity_judge": IdentityJudge,
    "outside_identity": OutsideIdentity,
    "expression_judge": ExpressionJudge,
    "outside_expression": OutsideExpression,
    "compact": CompactEncoder,
    "expression_check": ExpressionCheck,
    "expression_reader": ExpressionReader,
}
NAMES = ("identity_judge", "expression_judge", "encoder", "check", "reader")
SEEDS = 4  # apart, for each `judge.seed`
ENCODER_SEED = 2  # of them
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FaceNetworks:
    """The networks of a face set, in eval mode, without gradients, on the CPU.

    identity_judge: faces -> N,D unit vectors, from the inner face. expression_judge: faces -> N,K probabilities.
    encoder, check: the loss's embedding and the endpoint's reader of expressions, which judge nothing.
    reader: what the basis generator knows the input's own expression by; it judges nothing either.
    expressions: the K names. report: what the networks reach on the validation people. doubts: names of the face set
    whose pictures somebody should look at. sha256: of all weights.
    All take N,3,H,W in [-1, 1].
    """

    identity_judge: IdentityJudge
    expression_judge: ExpressionJudge | OutsideExpression
    encoder: CompactEncoder
    check: ExpressionCheck
    reader: ExpressionReader
    expressions: tuple[str, ...]
    report: dict[str, float]
    doubts: Doubts
    sha256: str

    @property
    def judged_by(self) -> dict[str, str]:
        """Who judges identity and expression: FITTED, or the package that the network is from."""
        return {"identity": self.identity_judge.ORIGIN, "expression": self.expression_judge.ORIGIN}


def face_networks(faces: FaceSet, judge: Judge, progress: Progress | None = None) -> FaceNetworks:
    """The networks of `faces` as `judge` wants them: those in DIR/networks, else newly trained and stored there.

    Only the training people's faces are seen; the validation people's measure the networks. They are trained on the
    CPU, always: it takes seconds, and neither their hashes nor what they say then depends on whether a GPU is there.
    Processes that ask at the same time wait for the first one. progress(network, step, steps) is called while one
    trains. Raises UserError when a person or an expression is missing or the folder cannot be written.
    """
    folder = faces.dir / "networks"
    wanted = _wanted(faces, judge)
    found = _load(folder, wanted, judge.networks)
    if found:
        return found
    try:
        with locked(faces.dir / LOCK):
            _bring(faces)
            found = _load(folder, wanted, judge.networks)  # another process may have trained them by now
            if not found:
                needed = judge.networks == "outside" or _chose_outside(folder)
                networks, report = _train(faces, judge, progress, needed=needed)
                seen = apply(networks["identity_judge"], resized(faces, np.arange(len(faces.identity))))
                _store(folder, networks, report, doubts(seen.numpy(), faces.identity), wanted)
                found = _load(folder, wanted, judge.networks)
                if faces.address:
                    (Store(faces.address) / "networks").push(folder, last=(CARD,))
    except OSError as error:
        raise UserError(
            f"{folder}: the judges cannot be stored ({error.strerror or error}); make room there or make it writable."
        ) from None
    if not found:
        raise UserError(f"{folder}: the judges just stored there cannot be read back; check that disk.")
    return found


def _bring(faces: FaceSet) -> None:
    """Copy the networks at the face set's address beside it, where there is one and it has any."""
    if faces.address:
        (Store(faces.address) / "networks").get(faces.dir / "networks")


def stored_networks(faces: FaceSet) -> FaceNetworks | None:
    """The networks that are stored with `faces`, however long they were trained; None where there are none of it."""
    folder = faces.dir / "networks"
    _bring(faces)
    try:
        card = json.loads((folder / CARD).read_text())
        judge = Judge(images=card["images"], seed=card["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _load(folder, _wanted(faces, judge), judge.networks)


def fingerprints(folder: Path) -> dict[str, str]:
    """What the scores on the face set in `folder` depend on, each as a hash; empty where no judges are stored."""
    try:
        card = json.loads((folder / "networks" / CARD).read_text())
        judges = hashlib.sha256("".join(card["files"].values()).encode()).hexdigest()
        return {"pixels": card["faces"], "names and split": card["labels"], "judges": judges}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _chose_outside(folder: Path) -> bool:
    """Whether the networks stored there, in whatever state, have judges from outside."""
    try:
        kinds = json.loads((folder / CARD).read_text())["architectures"].values()
        return any(kind["name"] in OUTSIDE for kind in kinds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _wanted(faces: FaceSet, judge: Judge) -> dict[str, Any]:
    """What the networks depend on. Stored ones that differ in any of it are trained anew."""
    labels = hashlib.sha256()
    for column in (faces.identity, faces.expression, faces.split):
        labels.update("\0".join(map(str, column)).encode() + b"\1")
    return {
        "format": FORMAT,
        "faces": faces.sha256,
        "labels": labels.hexdigest(),
        "expressions": list(faces.expressions),
        "images": judge.images,
        "seed": judge.seed,
    }


def _train(
    faces: FaceSet, judge: Judge, progress: Progress | None, *, needed: bool
) -> tuple[dict[str, nn.Module], dict[str, float]]:
    learn, hold = faces.part("train"), faces.part("validation")
    people, identity = np.unique(faces.identity[learn], return_inverse=True)
    missing = [name for k, name in enumerate(faces.expressions) if k not in faces.expression[learn]]
    if len(people) < 2 or missing or len(faces.expressions) < 2:
        lack = f"no {missing[0]} face" if missing else f"{len(people)} people with {len(faces.expressions)} expressions"
        raise UserError(
            f"{faces.dir}: the training part has {lack}, too little to train judges; add people or pictures."
        )
    pictures = resized(faces, learn)
    outside = outside_judges(judge, faces.expressions, pictures, needed=needed)
    who, expression = torch.from_numpy(identity), torch.from_numpy(faces.expression[learn])
    seeds = [judge.seed * SEEDS + place for place in range(SEEDS)]

    dimensions = dimensions_for(len(people))
    identity_judge = IdentityJudge(torch.from_numpy(inner_face_mask(IdentityJudge.SIDE)), dimensions)
    expression_judge = ExpressionJudge(faces.expressions)
    encoder = CompactEncoder(torch.from_numpy(inner_face_mask(CompactEncoder.SIDE)), dimensions)
    with seeded(seeds[3]):
        check = ExpressionCheck(faces.expressions)
    for network in (identity_judge, expression_judge, check):
        network.trunk = Trunk.pretrained()
    reader = ExpressionReader(len(faces.expressions))
    encoder.trunk, reader.trunk = RTrunk.pretrained(), RTrunk.pretrained()
    fit_identity(identity_judge, pictures, who, judge.images, seeds[0])
    fit_expression_judge(expression_judge, pictures, expression, judge.images, seeds[1])
    fit_identity(encoder, pictures, who, judge.images, seeds[ENCODER_SEED])
    fit_check(check, pictures, expression, judge.images // 2, seeds[3], progress and partial(progress, "check"))
    fit_expression_judge(reader, pictures, expression, judge.images, seeds[1])
    fitted = (identity_judge, expression_judge, encoder, check, reader)
    networks: dict[str, nn.Module] = dict(zip(NAMES, fitted, strict=True))
    real = resized(faces, hold), faces.identity[hold], faces.expression[hold]
    compared = choose(networks, outside, judge, *real)
    return networks, {**reached(networks, *real), **compared}


def resized(faces: FaceSet, indexes: np.ndarray) -> Tensor:
    """The faces at `indexes`, scaled down to the 96 px that the judges see at most: uint8 N,3,S,S."""
    parts, side = [], IdentityJudge.SIDE
    for start in range(0, len(indexes), 256):
        batch = torch.from_numpy(np.asarray(faces.faces[indexes[start : start + 256]])).permute(0, 3, 1, 2)
        if faces.size > side:
            batch = F.interpolate(batch.float(), (side, side), mode="bilinear", antialias=True).round().byte()
        parts.append(batch.contiguous())
    return torch.cat(parts)


def _store(
    folder: Path, networks: dict[str, nn.Module], report: dict[str, float], doubtful: Doubts, wanted: dict[str, Any]
) -> None:
    """All into a new folder that then takes the place of the old one, so that no reader sees half of it."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    try:
        fresh.mkdir()
        files = {}
        for name, network in networks.items():
            path = fresh / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
            files[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
        card = {
            **wanted,
            "architectures": {name: network.architecture() for name, network in networks.items()},  # type: ignore[operator]
            "report": report,
            "doubts": doubtful,
            "files": files,
        }
        (fresh / CARD).write_text(json.dumps(card, indent=2) + "\n")
        replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _load(folder: Path, wanted: dict[str, Any], asked: str) -> FaceNetworks | None:
    """The stored networks, or None when they are absent, damaged or not those that are wanted."""
    try:
        card = json.loads((folder / CARD).read_text())
        if {key: card[key] for key in wanted} != wanted:
            return None
        networks: dict[str, Any] = {}
        for name in NAMES:
            path = folder / f"{name}.safetensors"
            if hashlib.sha256(path.read_bytes()).hexdigest() != card["files"][path.name]:
                return None
            architecture = card["architectures"][name]
            networks[name] = KINDS[architecture.pop("name")](**architecture)
            networks[name].load_state_dict(load_file(path))
            networks[name].eval().requires_grad_(False)
        report, doubtful = card["report"], card["doubts"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None
    if not as_asked(asked, networks["identity_judge"], networks["expression_judge"]):
        return None
    return FaceNetworks(
        **networks,
        expressions=tuple(wanted["expressions"]),
        report=report,
        doubts={kind: [(name, value) for name, value in found] for kind, found in doubtful.items()},
        sha256=hashlib.sha256("".join(card["files"][f"{name}.safetensors"] for name in NAMES).encode()).hexdigest(),
    )
