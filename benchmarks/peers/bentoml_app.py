"""The model behind BentoML: one service that takes single requests, two workers, each with the model.

bentoml serve benchmarks/peers/bentoml_app.py:Faces --port 8001            with BUNDLE in the environment

Its batches need a second service behind this one, which its documentation advises where an endpoint takes more than one
parameter. Written so (one thread for the pictures, two workers for batches of 8), release 1.4.40 answers 500 from
8 clients on: the connections between the two break (aiohttp: server disconnected), with aiohttp 3.12 and 3.14 and
uvicorn 0.35 and 0.54 alike. So here each request is a batch of its own.
"""

import io
import os
from pathlib import Path

import bentoml
import numpy as np
import torch
from PIL import Image

from visage.methods.by_expression.editor import ExpressionEditor
from visage.registry.bundle import read_bundle


@bentoml.service(workers=2)
class Faces:
    def __init__(self) -> None:
        torch.set_num_threads(1)
        self.editor = ExpressionEditor(read_bundle(Path(os.environ["BUNDLE"])))

    @bentoml.api(route="/edit")
    def edit(self, image: Image.Image, expression: str, ctx: bentoml.Context) -> bytes:
        wanted = [self.editor.expressions.index(expression)]
        (face,) = self.editor.run(np.asarray(image.convert("RGB"))[None], [0], wanted, [1.0]).faces
        buffer = io.BytesIO()
        Image.fromarray(face).save(buffer, "PNG", compress_level=1)
        ctx.response.headers["content-type"] = "image/png"
        return buffer.getvalue()
