"""The model behind FastAPI and uvicorn, as a user would write it: a function that decodes, edits and encodes.

uvicorn --app-dir benchmarks/peers fastapi_app:app --workers 2 --port 8001        with BUNDLE in the environment
"""

import io
import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from fastapi import FastAPI, Form, Response, UploadFile
from PIL import Image

from visage.methods.by_expression.editor import ExpressionEditor
from visage.registry.bundle import read_bundle

torch.set_num_threads(1)
editor = ExpressionEditor(read_bundle(Path(os.environ["BUNDLE"])))
app = FastAPI()


@app.post("/edit")
def edit(image: UploadFile, expression: Annotated[str, Form()]) -> Response:
    face = np.asarray(Image.open(image.file).convert("RGB"))
    edited = editor.run(face[None], [0], [editor.expressions.index(expression)], [1.0])
    buffer = io.BytesIO()
    Image.fromarray(edited.faces[0]).save(buffer, "PNG", compress_level=1)
    return Response(buffer.getvalue(), media_type="image/png")
