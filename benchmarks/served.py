"""What the serving benchmark serves: untrained networks, which take as long as trained ones, and faces."""

from pathlib import Path

import numpy as np

EXPRESSIONS = ("neutral", "happy", "sad", "surprise", "fear", "anger", "disgust", "contempt")
SIZE, WIDTH, SEED = 64, 32, 0


def untrained_bundle(out: Path) -> Path:
    """A bundle in the folder `out`: 64 px, width 32, 8 expressions, of the networks that configs/demo.yaml trains."""
    import torch

    from tests.evaluations import sample
    from visage.faces.picture import encode_picture
    from visage.models.basis import BasisGenerator
    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck
    from visage.registry.bundle import write_bundle

    torch.manual_seed(SEED)
    write_bundle(
        out,
        generator=BasisGenerator(SIZE, WIDTH, len(EXPRESSIONS)),
        encoder=CompactEncoder(),
        check=ExpressionCheck(EXPRESSIONS),
        faces_png=encode_picture(np.zeros((8, 8, 3), np.uint8)),
        results=[],
        method="ucgan",
        expressions=EXPRESSIONS,
        config={},
        metrics={},
        evaluation=sample(EXPRESSIONS).to_dict(),
        data={"name": "none", "layout": "synthetic", "sha256": "0" * 64, "judges": "0" * 64},
        run_id="0" * 32,
        self_check={},
    )
    return out


def sample_faces(count: int) -> list[bytes]:
    """PNG files of procedural people, 64 px, in all expressions in turn."""
    from visage.faces.facs import prototype
    from visage.faces.picture import encode_picture
    from visage.faces.synthetic import render, traits

    names = [EXPRESSIONS[number % len(EXPRESSIONS)] for number in range(count)]
    return [encode_picture(render(traits(number), prototype(name), SIZE)) for number, name in enumerate(names)]
