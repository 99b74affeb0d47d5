"""Making face sets in tests, and what is printed of them."""

import io
from pathlib import Path

from rich.console import Console

from visage.config.data import Data, Shares
from visage.faces.faceset import FaceSet
from visage.faces.prepare import Progress
from visage.faces.prepare import prepare as prepare_data
from visage.faces.report import print_report

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
    print_report(faces, Console(file=out, width=100))
    return out.getvalue()


def data(folder: Path, **settings: object) -> Data:
    few = {"people": 10, "pictures": 1} if settings.get("layout") == "synthetic" else {}
    return Data.model_validate({"dir": folder, "size": 32, "shares": SHARES} | few | settings)
