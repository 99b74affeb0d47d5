"""The model behind BentoML, as its documentation has it: a batching service behind one that takes single requests.

bentoml serve benchmarks/peers/bentoml_app.py:Faces --port 8001            with BUNDLE in the environment
"""

import io
import os
from pathlib import Path

import bentoml
import numpy as np
import torch
from PIL import Image

from visage.editing import Editor
from visage.registry.bundle import read_bundle


@bentoml.service(workers=2)
class Generator:
    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.editor = Editor(read_bundle(Path(os.environ["BUNDLE"])))

    @bentoml.api(batchable=True, max_batch_size=8, max_latency_ms=1000)
    def run(self, jobs: list[tuple[bytes, str]]) -> list[bytes]:
        side = self.editor.size
        faces = np.stack([np.frombuffer(pixels, np.uint8).reshape(side, side, 3) for pixels, _ in jobs])
        expressions = [self.editor.expressions.index(name) for _, name in jobs]
        edited = self.editor.run(faces, range(len(jobs)), expressions, [1.0] * len(jobs)).faces
        return [face.tobytes() for face in edited]


@bentoml.service
class Faces:
    generator = bentoml.depends(Generator)

    @bentoml.api(route="/edit")
    async def edit(self, image: Image.Image, expression: str, ctx: bentoml.Context) -> bytes:
        (pixels,) = await self.generator.to_async.run([(image.convert("RGB").tobytes(), expression)])
        buffer = io.BytesIO()
        Image.frombytes("RGB", image.size, pixels).save(buffer, "PNG", compress_level=1)
        ctx.response.headers["content-type"] = "image/png"
        return buffer.getvalue()
