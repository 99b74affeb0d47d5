"""What a person is shown of an evaluation."""

import io

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from visage.faces.faceset import FaceSet
from visage.judging.evaluate import evaluate
from visage.judging.report import CELL, faces_picture, table
from visage.judging.train import FaceNetworks


def test_the_table_names_rows_people_judges_and_warnings(judged: tuple[FaceSet, FaceNetworks]) -> None:
    found = evaluate(None, *judged, bootstrap=100)
    found.warnings.append("the identity judge is poor.")
    text = io.StringIO()
    Console(file=text, width=80).print(table(found))
    shown = text.getvalue()
    for word in (
        "real faces",
        "copy of the",
        "mean face",
        "expression_probability",
        "score",
        f"{found.people} test people",
        "Warning",
    ):
        assert word in shown
    low = found.rows["copy"].metrics["score"].low
    assert f"{low:.3f}–" in shown


def test_the_picture_has_a_row_a_person_and_a_column_an_expression(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces = judged[0]
    seen = []

    def red(inputs: Tensor, condition: Tensor) -> Tensor:
        seen.append(condition)
        return torch.stack([torch.ones(64, 64), -torch.ones(64, 64), -torch.ones(64, 64)]).expand(
            len(inputs), -1, -1, -1
        )

    picture = faces_picture(red, faces, "test", people=2)
    assert picture.dtype == np.uint8
    assert torch.equal(seen[0], torch.eye(len(faces.expressions)))
    is_red = (picture == (255, 0, 0)).all(-1)
    assert is_red.sum() == 2 * len(faces.expressions) * CELL * CELL
    assert faces_picture(red, faces, "test", people=3).shape[0] > picture.shape[0]
