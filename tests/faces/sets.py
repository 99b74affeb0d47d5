"""Making face sets in tests, and what is printed of them."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console

from visage.config.data import Data, Shares
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.faces.prepare import Progress
from visage.faces.prepare import prepare as prepare_data
from visage.faces.report import print_report
from visage.faces.shards import dealt

SHARES = Shares(train=0.5, validation=0.2, test=0.3)


def prepare(
    layout: str,
    source: Path | None,
    out: Path,
    size: int,
    shares: Shares,
    progress: Progress = lambda done, total: None,
    **own: object,
) -> FaceSet:
    values = {"layout": layout, "source": source, "dir": out, "size": size, "shares": shares, **own}
    return prepare_data(Data.model_validate(values), progress)


def report_of(faces: FaceSet) -> str:
    out = io.StringIO()
    print_report(faces, Console(file=out, width=100, soft_wrap=True, highlight=False, markup=False))
    return out.getvalue()


def data(folder: Path, **settings: object) -> Data:
    few = {"people": 10, "pictures": 1} if settings.get("layout") == "synthetic" else {}
    return Data.model_validate({"dir": folder, "size": 32, "shares": SHARES} | few | settings)


def dozen(folder: Path) -> FaceSet:
    """Twelve people, black pictures of 16 px."""
    rows = [Row(Path(f"{k}.png"), f"p{k // 2}", ("neutral", "happy")[k % 2]) for k in range(24)]
    faces = [np.zeros((16, 16, 3), np.uint8)] * 24
    return write_face_set(folder, rows, faces, name="a dozen", layout="folder", size=16, shares=SHARES)


def in_shards(faces: FaceSet, out: Path, megabytes: float) -> FaceSet:
    """The same people and parts, with those of training in shards too."""
    training = faces.part("train").tolist()
    order = {name: place for place, name in enumerate(dealt(faces.identity[training].tolist()))}
    training.sort(key=lambda picture: order[str(faces.identity[picture])])
    rows = [row_of(faces, picture) for picture in range(len(faces.identity))]
    return write_face_set(
        out,
        rows,
        faces.faces,
        name=faces.name,
        layout=faces.layout,
        size=faces.size,
        shares=SHARES,
        kept=faces.parts(),
        training=((rows[picture], faces.faces[picture]) for picture in training),
        megabytes=megabytes,
    )


def row_of(faces: FaceSet, picture: int) -> Row:
    expression = faces.expressions[faces.expression[picture]]
    aus = () if faces.aus is None else tuple(faces.aus[picture].tolist())
    return Row(Path(f"{picture}.png"), str(faces.identity[picture]), expression, aus=aus)
