"""Judges from outside, read from npm's file of the package that holds them: checked, decoded, set for a face set."""

import hashlib
import json
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from visage.config.experiment import FITTED, Judge
from visage.errors import UserError, one_line
from visage.faces.align import inner_face_mask
from visage.judging.networks.reach import accuracy, apply, recognised
from visage.models.judges import ExpressionJudge, Trunk
from visage.models.outside import PACKAGE, READ, OutsideExpression, OutsideIdentity

IDENTITY, EXPRESSION = "face_recognition_model", "face_expression_model"
# sha256 of what the package's version holds of each: where the weights lie, and the weights.
FILES = {
    f"{IDENTITY}-weights_manifest.json": "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
    f"{IDENTITY}.bin": "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
    f"{EXPRESSION}-weights_manifest.json": "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8",
    f"{EXPRESSION}.bin": "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
}
MEND = "get it with `make judges`, or set judge.networks=fitted"


def outside_judges(judge: Judge, expressions: Sequence[str], faces: Tensor, *, needed: bool) -> dict[str, nn.Module]:
    """The judges from outside, by their names among a face set's networks, in eval mode; empty where none are asked.

    faces: uint8 N,3,S,S, the training people's, whose mean the vectors of identity are taken from. needed: they must
    be there; else nothing comes of a missing file. Expressions that they do not know leave the fitted judge of
    expressions in its place. Raises UserError for a file that is damaged or another.
    """
    if judge.networks == "fitted" or not (needed or judge.package.exists()):
        return {}
    files = _files(judge.package)
    identity = OutsideIdentity(torch.from_numpy(inner_face_mask(OutsideIdentity.SIDE)))
    identity.trunk = Trunk.pretrained()
    identity.network.load_state_dict(_of(files, IDENTITY))
    identity.eval().requires_grad_(False)
    identity.centre = apply(identity.described, faces).mean(0)
    found: dict[str, nn.Module] = {"identity_judge": identity}
    if knows(expressions):
        reader = OutsideExpression(expressions)
        reader.network.load_state_dict(_of(files, EXPRESSION))
        found["expression_judge"] = reader.eval().requires_grad_(False)
    return found


def choose(
    networks: dict[str, nn.Module], outside: Mapping[str, nn.Module], judge: Judge,
    pictures: Tensor, people: Sequence[str], expression: np.ndarray,
) -> dict[str, float]:  # fmt: skip
    """Put judges from outside among a face set's networks: all where they are asked for, else those that read these
    real faces, of people whom none has seen, better than the fitted one does. Returns the figures of both."""
    found: dict[str, float] = {}
    for name, other in outside.items():
        here, there = (
            recognised(network, pictures, people)
            if name == "identity_judge"
            else accuracy(network, pictures, expression)
            for network in (networks[name], other)
        )
        found |= {f"{name}_fitted": here, f"{name}_outside": there}
        if judge.networks == "outside" or there > here:
            networks[name] = other
    return found


def choice_notes(judged_by: Mapping[str, str], report: Mapping[str, float]) -> list[str]:
    """Who judges a face set and why, as lines of text; none where the fitted judges were never held against others."""
    found = []
    for kind, by in judged_by.items():
        if f"{kind}_judge_outside" in report:
            here, there = (report[f"{kind}_judge_{who}"] for who in (FITTED, "outside"))
            found.append(f"{kind} is judged by: {by} (real faces: fitted {here:.3f}, from outside {there:.3f})")
        elif "identity_judge_outside" in report:
            found.append(f"{kind} is judged by: {by} (the network from outside does not know all expressions here)")
    return found


def as_asked(asked: str, identity: nn.Module, expression: ExpressionJudge | OutsideExpression) -> bool:
    """Whether these judges are of the kind that is asked for; auto takes what was chosen once."""
    outside = isinstance(identity, OutsideIdentity), isinstance(expression, OutsideExpression)
    if asked == "outside":
        return outside == (True, knows(expression.expressions))
    return asked == "auto" or not any(outside)


def knows(expressions: Sequence[str]) -> bool:
    """Whether the reader of expressions from outside knows all of these."""
    return set(expressions) <= set(READ)


def _files(package: Path) -> dict[str, bytes]:
    """The contents of FILES, as npm packed them."""
    found = {}
    try:
        with tarfile.open(package, "r:gz") as archive:
            for name, wanted in FILES.items():
                member = archive.extractfile(f"package/model/{name}")
                found[name] = member.read() if member else b""
                if hashlib.sha256(found[name]).hexdigest() != wanted:
                    raise UserError(f"judge.package = {package}: holds another {name} than {PACKAGE} has; {MEND}.")
    except FileNotFoundError:
        raise UserError(f"judge.package = {package}: is not there; {MEND}.") from None
    except (OSError, EOFError, KeyError, tarfile.TarError, zlib.error) as error:
        raise UserError(
            f"judge.package = {package}: is no whole file of {PACKAGE} ({one_line(error)}); {MEND}."
        ) from None
    return found


def _of(files: Mapping[str, bytes], network: str) -> dict[str, Tensor]:
    return {
        _named(name): _turned(name, values)
        for name, values in weights(files[f"{network}-weights_manifest.json"], files[f"{network}.bin"]).items()
    }


def weights(manifest: bytes, data: bytes) -> dict[str, Tensor]:
    """The tensors of TensorFlow.js's weights format by name, float32: one after the other in `data`, as float32 or as
    bytes that stand for min + byte * scale. Raises ValueError where data and manifest do not fit."""
    found, at = {}, 0
    for entry in (entry for group in json.loads(manifest) for entry in group["weights"]):
        count, packed = int(np.prod(entry["shape"])), entry.get("quantization")
        kind = np.dtype(np.uint8 if packed else "<f4")
        values = np.frombuffer(data, kind, count, at).astype(np.float32)
        at += count * kind.itemsize
        if packed:
            values = values * np.float32(packed["scale"]) + np.float32(packed["min"])
        found[entry["name"]] = torch.from_numpy(values.reshape(entry["shape"]))
    if at != len(data):
        raise ValueError(f"the manifest names {at} bytes of {len(data)}")
    return found


def _named(name: str) -> str:
    """TensorFlow's name of a tensor as ours in `models.outside`."""
    parts = name.split("/")
    if parts[-1] == "bias" and parts[0].startswith("dense") and parts[:2] != ["dense0", "conv0"]:
        parts[-1] = "pointwise/bias"
    last = {
        "filters": "weight",
        "depthwise_filter": "depthwise/weight",
        "pointwise_filter": "pointwise/weight",
        "fc": "fc/weight",
    }
    parts[-1] = last.get(parts[-1], parts[-1])
    if parts[0] == "fc" and parts[-1] == "weights":
        parts[-1] = "weight"
    return ".".join("/".join(part for part in parts if part != "scale").split("/"))


def _turned(name: str, values: Tensor) -> Tensor:
    """TensorFlow's order of axes, height, width, in, out, as torch's; a depthwise filter has 1 as its last."""
    if values.ndim == 4:
        return values.permute(2, 3, 0, 1) if name.endswith("depthwise_filter") else values.permute(3, 2, 0, 1)
    return values.T if values.ndim == 2 else values
