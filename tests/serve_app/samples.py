"""A small bundle of untrained networks, and pictures good and bad."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

EXPRESSIONS = ("neutral", "happy", "sad", "anger")
SIZE = 32
UNITS = (1, 2, 4, 6, 12, 26)  # that a model of transfers here can be told


def make_bundle(
    out: Path,
    *,
    expressions: tuple[str, ...] = EXPRESSIONS,
    size: int = SIZE,
    width: int = 8,
    seed: int = 0,
    self_check: dict[str, dict[str, float]] | None = None,
    method: str = "ucgan",
    generator: Any = None,
    units: tuple[int, ...] = UNITS,
    natural: bool = True,
) -> Any:
    """A bundle of untrained networks; those of the self-check are the same for every seed of the generator, which is
    the method's unless one is given. units: action units that a transfer can be told; none makes no map. natural: with
    the part of the self-check that is the generator's own."""
    import torch

    from tests.evaluations import sample
    from visage.methods.eft.networks.disentangler import Disentangler
    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck, NaturalCheck
    from visage.models.unet import UNet
    from visage.registry.bundle import write_bundle

    torch.manual_seed(1000)
    encoder, check = CompactEncoder(dimensions=8), ExpressionCheck(expressions)
    torch.manual_seed(seed)
    if generator is None:
        generator = UNet(size, width, len(expressions)) if method == "ucgan" else Disentangler(size, width, 8, 17)
    unit_map = make_unit_map(units) if method == "eft" and units else None
    return write_bundle(
        out,
        generator=generator,
        extras={} if unit_map is None else {"units.safetensors": unit_map},
        encoder=encoder,
        check=check,
        natural=NaturalCheck().eval() if natural else None,
        faces_png=png(np.zeros((8, 8, 3), np.uint8)),
        results=[],
        method=method,
        expressions=expressions,
        config={"method": {"name": method}},
        metrics={},
        evaluation=sample(expressions).to_dict(),
        data={"name": "none", "layout": "synthetic", "sha256": "0" * 64, "judges": "0" * 64},
        run_id="0" * 32,
        self_check=self_check or {},
    )


def make_unit_map(units: tuple[int, ...], related: int = 8) -> Any:
    """An untrained map of action units whose every unit can be seen."""
    import torch

    from visage.faces.facs import AUS
    from visage.methods.eft.networks.unit_map import UnitMap

    found = UnitMap(len(AUS), related).eval().requires_grad_(False)
    found.out.weight.mul_(20)
    found.out.bias.copy_(-found.out.weight.sum(1) / 2)  # untrained networks read about half of everything
    found.known.copy_(torch.tensor([au in units for au in AUS]))
    return found


def forge(folder: Path, change: Callable[[dict[str, Any]], None] = lambda weights: None, **card: Any) -> None:
    """Change the generator's weights and the card of a bundle, and make the card's hashes agree with the files."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "generator.safetensors")
    change(weights)
    save_file(weights, folder / "generator.safetensors")
    values = json.loads((folder / "card.json").read_text()) | card
    values["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in values["files"]}
    values["sha256"] = values["files"]["generator.safetensors"]
    (folder / "card.json").write_text(json.dumps(values))


class Held:
    """What the routes ask for their model, with no registry behind it. fault: why there is none, or no newer one."""

    def __init__(self, model: Any, fault: str = "") -> None:
        self.model, self.fault = model, fault

    def description(self) -> Any:
        return self.model.description() if self.model else None


def held(bundle: Any) -> Held:
    from serve_app.loaded_model import Model

    editor = bundle.editor(bundle.method.request, self_check=True)
    model = Model(editor, bundle.facts, "2026-01-01T00:00:00+00:00", bundle.golden())
    return Held(model)


async def run_alone(job: Any) -> Any:
    """The networks, without a batch around them."""
    from serve_app.inference import run_jobs

    return run_jobs([job])[0]


def not_numbers(weights: dict[str, Any]) -> None:
    for value in weights.values():
        value.fill_(float("nan"))


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def opened(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def face(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """A smooth random picture in place of an aligned face."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def bomb() -> bytes:
    """A PNG of a few bytes whose header announces 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )
