"""The model behind LitServe, as its documentation has it: batches of 8, two workers of the model.

python benchmarks/peers/litserve_app.py PORT            with BUNDLE in the environment
"""

import io
import os
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
import torch
from fastapi import Request, Response
from PIL import Image

from visage.methods.by_expression.editor import ExpressionEditor
from visage.registry.bundle import read_bundle


class Faces(litserve.LitAPI):
    def setup(self, device: str) -> None:
        torch.set_num_threads(1)
        self.editor = ExpressionEditor(read_bundle(Path(os.environ["BUNDLE"])))

    def decode_request(self, request: Request) -> tuple[np.ndarray, int]:
        form: Any = request
        face = np.asarray(Image.open(form["image"].file).convert("RGB"))
        return face, self.editor.expressions.index(form["expression"])

    def batch(self, inputs: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, list[int]]:
        return np.stack([face for face, _ in inputs]), [index for _, index in inputs]

    def predict(self, batch: tuple[np.ndarray, list[int]]) -> np.ndarray:
        faces, expressions = batch
        return self.editor.run(faces, range(len(faces)), expressions, [1.0] * len(faces)).faces

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> Response:
        buffer = io.BytesIO()
        Image.fromarray(output).save(buffer, "PNG", compress_level=1)
        return Response(buffer.getvalue(), media_type="image/png")


if __name__ == "__main__":
    api = Faces(max_batch_size=8, batch_timeout=0.002, api_path="/edit")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=2, fast_queue=True)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", generate_client_file=False, log_level="warning")
