"""What a person is shown of an evaluation."""

import io

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from tests.evaluations import sample
from visage.faces.faceset import FaceSet
from visage.faces.facs import AUS
from visage.judging.evaluate import evaluate
from visage.judging.metrics import Estimate
from visage.judging.networks.train import FaceNetworks
from visage.judging.results import Agreement, Alone, Evaluation, Row
from visage.judging.sheet import CELL, faces_sheet, intensity_sheet
from visage.judging.table import table
from visage.methods import method_of
from visage.methods.eft.judging.sheets import units_sheet
from visage.methods.eft.networks.disentangler import Disentangler
from visage.methods.eft.networks.unit_map import UnitMap


def printed(evaluation: Evaluation) -> str:
    text = io.StringIO()
    Console(file=text, width=80).print(table(evaluation))
    assert "…" not in text.getvalue()  # nothing is cut off
    return text.getvalue()


def test_the_table_names_rows_people_judges_and_warnings(judged: tuple[FaceSet, FaceNetworks]) -> None:
    found = evaluate(lambda inputs, condition: inputs, *judged, bootstrap=100)
    found.warnings.append("the identity judge is poor.")
    shown = printed(found)
    rows = ("real faces", "copy of", "mean face", "mean change", "wrong", "model")
    words = ("expression_probability", "frechet", f"{found.people} test people", "Warning", "Intensity", "Read as")
    for word in (*rows, *words, "false accept rate of 0.01"):
        assert word in shown
    figure = found.rows["real"].metrics["identity_similarity"]
    line = next(line for line in shown.splitlines() if line.strip().startswith("identity_similarity"))
    assert f"{figure.value:.3f}" in line
    assert f"{figure.low:.3f}–".removeprefix("0") in shown
    assert "*" not in shown


def test_every_figure_of_a_poor_judge_is_marked() -> None:
    poor = sample(("neutral", "happy"), judges={"identity": 0.95, "expression": 0.5}, warnings=["poor."])
    lines = {line.split()[0]: line for line in printed(poor).splitlines() if line.strip()}
    for name in ("expression", "score", "few"):
        assert "0.800*" in lines[name], name
    for name in ("identity", "identity_similarity"):
        assert "*" not in lines[name], name
    assert "*" in lines["expression_probability"]


def test_groups_stand_in_the_table_and_small_ones_with_a_caution() -> None:
    shown = printed(sample(("neutral", "happy")))
    assert "3 !" in shown
    assert "By group" in shown
    assert "By group" not in printed(sample(("neutral", "happy"), groups={}))


def test_a_transfer_s_table_fits_and_says_what_a_unit_told_alone_does() -> None:
    figure = Estimate(0.8, 0.75, 0.85)
    names = ("model", *method_of("eft").measured.floors, "driver", "units", "named")
    rows = dict.fromkeys(names, Row({"au_agreement": figure, "score": figure}, 3, 9, [[9]]))
    units = {name: {au: Agreement(figure, figure) for au in ("4", "12")} for name in rows if name != "constant"}
    alone = {"12": Alone(Estimate(0.25, 0.2, 0.3), Estimate(0.06, 0.05, 0.07))}
    found = sample(("neutral",), rows=rows, action_units=units, alone=alone, groups={}, intensity=None)
    lines = {line.split()[0]: line for line in printed(found).splitlines() if line.strip()}
    assert "0.25 / 0.06" in lines["12"]
    assert "0.25" not in lines["4"]
    assert "told alone" in printed(found)
    for word in ("at rest", "constant", "by", "regression", "without a network"):
        assert word in printed(found)
    assert "told alone" not in printed(sample(("neutral",), rows=rows, action_units=units, groups={}, intensity=None))


class Painter(UnitMap):
    """Paints a face as bright as AU 12 is asked for, and white where another unit is."""

    def __init__(self, known: set[int]) -> None:
        super().__init__(len(AUS), 8)
        self.known.copy_(torch.tensor([au in known for au in AUS]))

    def told(self, network: Disentangler, faces: Tensor, asked: Tensor) -> Tensor:
        shown = asked[:, AUS.index(12)].nan_to_num(1) * 2 - 1
        return shown[:, None, None, None].expand(-1, 3, 64, 64)


def test_the_picture_of_units_has_a_column_for_each_that_is_told(judged: tuple[FaceSet, FaceNetworks]) -> None:
    network = Disentangler(64, 8, 8, len(AUS))
    middle = CELL // 2
    for known, columns in (({1, 2, 4, 12, 26}, 8), ({12}, 5), (set[int](), 0)):
        picture = np.array(units_sheet(network, Painter(known), judged[0], "test", people=2).image)
        assert picture.shape[1] == (1 + columns) * (CELL + 4) + 4
        row = picture[22 + middle, 4 + middle :: CELL + 4][1:, 0]
        assert row.tolist() == [0, 64, 128, 191, 255, 255, 255, 255][:columns]


def test_the_strip_has_a_row_a_person_and_a_column_an_intensity(judged: tuple[FaceSet, FaceNetworks]) -> None:
    asked = []

    def generator(inputs: Tensor, condition: Tensor) -> Tensor:
        asked.append(condition)
        return inputs

    sheet = intensity_sheet(generator, judged[0], "test", people=3)
    assert sheet.image.width > 8 * CELL
    assert len(asked) == 3
    assert asked[0][0].tolist() == [1, 0, 0]  # neutral
    assert asked[0][4].tolist() == [0, 1, 0]  # happy in full
    assert asked[1][4].tolist() == [0, 0, 1]  # the next person's expression is another


def test_the_picture_has_a_row_a_person_and_a_column_an_expression(judged: tuple[FaceSet, FaceNetworks]) -> None:
    faces = judged[0]
    seen = []

    def red(inputs: Tensor, condition: Tensor) -> Tensor:
        seen.append(condition)
        return torch.stack([torch.ones(64, 64), -torch.ones(64, 64), -torch.ones(64, 64)]).expand(
            len(inputs), -1, -1, -1
        )

    picture = np.array(faces_sheet(red, faces, "test", people=2).image)
    assert picture.dtype == np.uint8
    assert torch.equal(seen[0], torch.eye(len(faces.expressions)))
    is_red = (picture == (255, 0, 0)).all(-1)
    assert is_red.sum() == 2 * len(faces.expressions) * CELL * CELL
    assert faces_sheet(red, faces, "test", people=3).image.height > picture.shape[0]
