"""A registered generator as one ONNX file that needs nothing of Visage to run."""

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.errors import UserError
from visage.infra.files import write_whole

if TYPE_CHECKING:
    import numpy as np

    from visage.models.generator import Network
    from visage.registry.bundle import Bundle

    Asked = tuple[np.ndarray, np.ndarray]  # a generator's two inputs

OUTPUT = "result"
BATCHES = (1, 3)  # the export traces with 2
HALF_A_LEVEL = 1 / 255  # of 255 levels over -1..1


def export_onnx(bundle: "Bundle", out: Path) -> float:
    """Write the generator to `out` and return the largest difference to torch that was found on random faces.

    The file's inputs are face (float32 N,3,S,S in -1..1) and condition (float32 N,K, see `models.condition`), or of a
    transfer source and driver (float32 N,3,S,S in -1..1); its output is result (float32 N,3,S,S in -1..1), N any
    number. The card's facts are its metadata, as text or JSON. Before it is written, the file runs in onnxruntime, for
    every expression where it takes them, and must give torch's faces to half a level of 255. Raises UserError when it
    does not, or when `out` cannot be written.
    """
    generator, inputs = bundle.generator(), bundle.method.request.inputs
    content = _converted(generator, inputs, next(_asked(bundle, generator.size, 2)), facts_of(bundle))
    asked = (each for count in BATCHES for each in _asked(bundle, generator.size, count))
    found = _largest_difference(generator, inputs, content, asked)
    if not found <= HALF_A_LEVEL:
        raise UserError(
            f"{bundle.facts.name}: its ONNX file differs from it by {found:.2g} of at most {HALF_A_LEVEL:.2g}, so it "
            "was not written; update onnxscript and onnxruntime."
        )
    write_whole(out, content)
    return found


def facts_of(bundle: "Bundle") -> dict[str, str]:
    """What the file says of itself: the card but for its per-file hashes and long tables, and the registry's names."""
    card = bundle.card.model_dump(mode="json", exclude={"evaluation", "files", "self_check", "format"})
    facts: dict[str, Any] = card | {"name": bundle.facts.name, "version": bundle.facts.version}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def _converted(generator: "Network", inputs: tuple[str, ...], example: "Asked", facts: dict[str, str]) -> bytes:
    import torch

    count = torch.export.Dim("N")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch about its own parts
        program = torch.onnx.export(
            generator,
            tuple(map(torch.from_numpy, example)),
            dynamo=True,
            verbose=False,
            input_names=inputs,
            output_names=[OUTPUT],
            dynamic_shapes=({0: count}, {0: count}),
        )
    assert program is not None
    model = program.model_proto
    model.producer_name = "visage"
    del model.metadata_props[:]
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)
    for node in model.graph.node:  # where in our files each node came from is nobody's business
        del node.metadata_props[:]
    return model.SerializeToString()


def _largest_difference(
    generator: "Network", inputs: tuple[str, ...], content: bytes, batches: "Iterator[Asked]"
) -> float:
    """The largest difference between the file and torch, over all batches."""
    import numpy as np
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    largest = 0.0
    for asked in batches:
        (made,) = session.run([OUTPUT], dict(zip(inputs, asked, strict=True)))
        with torch.inference_mode():
            expected = generator(*map(torch.from_numpy, asked)).numpy()
        largest = max(largest, float(np.abs(made - expected).max()))
    return largest


def _asked(bundle: "Bundle", size: int, count: int) -> "Iterator[Asked]":
    """All the examples of the bundle's kind of request, asked of random faces: batches of `count`, the last filled up
    from the first."""
    import numpy as np
    import torch

    request, random = bundle.method.request, np.random.default_rng(0)

    def faces(places: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(random.uniform(-1, 1, (len(places), 3, size, size)).astype(np.float32))

    _, examples = request.examples(bundle.card.expressions)
    for start in range(0, len(examples.source), count):
        some = np.arange(start, start + count) % len(examples.source)
        columns = {name: values[some] for name, values in examples.columns.items()}
        second = request.second(columns, faces, bundle.card.expressions)
        yield faces(some).numpy(), second.numpy()
