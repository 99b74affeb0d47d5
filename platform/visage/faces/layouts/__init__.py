"""How data sets name their pictures: each layout turns a folder into rows."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visage.config.data import Kdef, Mmi, OuluCasia, Rafd
from visage.errors import UserError
from visage.faces.layouts.cfd import cfd
from visage.faces.layouts.folder import folder, unpaired
from visage.faces.layouts.kdef import kdef
from visage.faces.layouts.london import london
from visage.faces.layouts.mmi import mmi
from visage.faces.layouts.oulu_casia import oulu_casia
from visage.faces.layouts.rafd import rafd
from visage.faces.layouts.rows import Found, Passed, Row

__all__ = ["LAYOUTS", "LICENCES", "Listing", "Passed", "Row", "read_layout"]

ON_REQUEST = "given out on request, for research; not to be passed on"
LICENCES = {
    "kdef": f"{ON_REQUEST}; Lundqvist, Flykt and Öhman (1998), The Karolinska Directed Emotional Faces",
    "rafd": f"{ON_REQUEST}; Langner et al. (2010), Radboud Faces Database",
    "oulu-casia": f"{ON_REQUEST}; Zhao et al. (2011), Oulu-CASIA NIR&VIS facial expression database",
    "london": "CC BY 4.0; DeBruine and Jones (2017), Face Research Lab London Set, doi 10.6084/m9.figshare.5047666",
    "cfd": f"{ON_REQUEST}; Ma, Correll and Wittenbrink (2015), The Chicago Face Database",
    "mmi": f"{ON_REQUEST}; Pantic, Valstar, Rademaker and Maat (2005), MMI Facial Expression Database",
    "folder": "as the owner of the pictures has set",
    "unpaired": "as the owner of the pictures has set",
    "synthetic": "made by visage; nobody's face",
}


# How each goes through its folder, with which options by default, and what it finds there.
LAYOUTS: dict[str, tuple[Callable[[Path, Any], Found], Any, str]] = {
    "kdef": (kdef, Kdef(), "AF01ANS.JPG"),
    "rafd": (rafd, Rafd(), "Rafd090_01_Caucasian_female_angry_frontal.jpg"),
    "oulu-casia": (oulu_casia, OuluCasia(), "VL/Strong/P001/Anger/000.jpeg"),
    "london": (london, None, "neutral_front/001_03.jpg, smiling_front/001_08.jpg"),
    "cfd": (cfd, None, "CFD-WF-001-003-N.jpg"),
    "mmi": (mmi, Mmi(), "Sessions/501/S001-001-0001.png beside S001-001.xml"),
    "folder": (folder, None, "PERSON_EXPRESSION.jpg, or EXPRESSION/PERSON.jpg"),
    "unpaired": (unpaired, None, "PERSON_EXPRESSION.jpg, or EXPRESSION/PERSON.jpg"),
}


@dataclass(frozen=True)
class Listing:
    """A source folder as a layout sees it.

    rows: ordered by path, each person, expression, session and angle once. left_out: pictures that no row is made of.
    not_chosen: how many pictures the options leave out, by what they are.
    """

    rows: list[Row]
    left_out: list[Passed]
    not_chosen: dict[str, int]


def read_layout(layout: str, source: Path, options: Any = None, expressions: Sequence[str] | None = None) -> Listing:
    """The pictures of the folder `source` as `layout` reads them.

    `options`: the layout's section of the configuration, by default the papers' choice; `expressions`: keep only
    these. Raises UserError when there is no folder, nothing in it is named so, or nothing shows one of `expressions`.
    """
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder; give the folder of the photographs as the source.")
    find, usual, example = LAYOUTS[layout]
    try:
        found = sorted(find(source, options or usual), key=lambda one: one.path)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); allow reading it.") from None
    for one in found:
        if any("\udc80" <= letter <= "\udcff" for letter in str(one.path)):  # how Python shows bytes that are no text
            raise UserError(f"{str(one.path)!a}: its name is no UTF-8 text; rename it.")
    found = [one if one.path.is_file() else Passed(one.path, "is no file, or a link to none") for one in found]
    rows = [one for one in found if isinstance(one, Row)]
    passed = [one for one in found if isinstance(one, Passed)]
    if not rows:
        raise UserError(_nothing(layout, source, example, passed))
    shown = {row.expression for row in rows}
    if missing := [name for name in expressions or () if name not in shown]:
        raise UserError(
            f"{source}: shows no {missing[0]} (data.expressions); it shows {', '.join(sorted(shown))}: choose of these."
        )
    kept: dict[tuple[str, ...], Row] = {}
    not_chosen = Counter(one.reason for one in passed if not one.chosen)
    left_out = [one for one in passed if one.chosen]
    for row in rows:
        if expressions and row.expression not in expressions:
            not_chosen[f"expression {row.expression}"] += 1
            continue
        first = kept.setdefault((row.identity, row.expression, row.session, row.angle), row)
        if first is not row:
            same = first.path.relative_to(source).as_posix()
            left_out.append(Passed(row.path, f"shows the same person and expression as {same}, by its name"))
    return Listing(list(kept.values()), left_out, dict(not_chosen))


def _nothing(layout: str, source: Path, example: str, passed: Sequence[Passed]) -> str:
    """Why a folder gave no rows."""
    if others := Counter(one.reason for one in passed if not one.chosen):
        reasons = ", ".join(f"{count} of {reason}" for reason, count in sorted(others.items()))
        key = layout.replace("-", "_")
        return f"{source}: no picture is of those chosen; there are {reasons}: choose of these (data.{key})."
    there = f"; {passed[0].path.name} is not" if passed else ""
    return (
        f"{source}: has no pictures named as layout {layout} names them ({example}){there}; give the folder that holds "
        "them as the source, or another layout."
    )
