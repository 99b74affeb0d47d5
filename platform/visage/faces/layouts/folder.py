"""Pictures of one's own: PERSON_EXPRESSION.jpg in one folder, or EXPRESSION/PERSON.jpg in many."""

import re
from pathlib import Path

from visage.errors import UserError
from visage.faces.layouts.rows import Found, Passed, Row, folders, pictures


def folder(source: Path, _options: None = None) -> Found:
    """Flat names may end in a number, as ann_happy_2.jpg. A new expression is as good as a known one.

    Raises UserError when both forms are mixed, or there is one expression, one person, or nobody with two expressions.
    """
    found = list(unpaired(source))
    rows = [row for row in found if isinstance(row, Row)]
    if rows and len({(row.identity, row.expression) for row in rows}) == len({row.identity for row in rows}):
        raise UserError(
            f"{source}: nobody is shown with two expressions (people: {rows[0].identity}, {rows[-1].identity}); "
            "give every picture of a person the same name before the expression, or take layout unpaired."
        )
    yield from found


def unpaired(source: Path, _options: None = None) -> Found:
    """As `folder`, but nobody needs two expressions: enough to carry the expression of one person to another."""
    flat = [_flat_row(path) for path in pictures(source)]
    nested = [Row(path, path.stem, child.name.lower()) for child in folders(source) for path in pictures(child)]
    rows = [row for row in flat if row.identity and row.expression]
    if rows and nested:
        raise UserError(
            f"{source}: holds both pictures named PERSON_EXPRESSION ({rows[0].path.name}) and folders of pictures "
            f"({', '.join(sorted({row.path.parent.name for row in nested}))}); keep one of the two."
        )
    rows += nested
    for what, names in (("expression", {row.expression for row in rows}), ("person", {row.identity for row in rows})):
        if len(names) == 1:
            raise UserError(
                f"{source}: {len(rows)} pictures, but only one {what} ({names.pop()}); name two "
                "expressions and several people, as files named PERSON_EXPRESSION.jpg or EXPRESSION/PERSON.jpg."
            )
    yield from rows
    for row in flat:
        if not (row.identity and row.expression):
            yield Passed(row.path, "is not named as layout folder names pictures")


def _flat_row(path: Path) -> Row:
    stem, session = path.stem, ""
    if match := re.fullmatch(r"(.+_.+)_(\d+)", stem):
        stem, session = match[1], match[2]
    person, _, expression = stem.rpartition("_")
    return Row(path, person, expression.lower(), session)
