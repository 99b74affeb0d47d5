"""KDEF, the Karolinska Directed Emotional Faces: AF01ANS.JPG, in one folder or a folder for each person."""

import re
from pathlib import Path

from visage.config.data import Kdef
from visage.faces.layouts.rows import Found, Passed, Row, all_pictures

NAME = re.compile(r"(?P<session>[AB])(?P<person>(?P<sex>[FM])\d\d)(?P<expression>[A-Z]{2})(?P<angle>FL|HL|S|HR|FR)")
EXPRESSIONS = {
    "AF": "fear",
    "AN": "anger",
    "DI": "disgust",
    "HA": "happy",
    "NE": "neutral",
    "SA": "sad",
    "SU": "surprise",
}
SEXES = {"F": "female", "M": "male"}


def kdef(source: Path, options: Kdef) -> Found:
    """Both sessions of a person are one identity; the sex is the group."""
    for path in all_pictures(source):
        name = NAME.fullmatch(path.stem.upper())
        if not name or name["expression"] not in EXPRESSIONS:
            yield Passed(path, "is not named as KDEF names pictures, such as AF01ANS.JPG")
        elif name["session"] not in options.sessions:
            yield Passed(path, f"session {name['session']}", chosen=False)
        elif name["angle"] not in options.angles:
            yield Passed(path, f"angle {name['angle']}", chosen=False)
        else:
            expression, group = EXPRESSIONS[name["expression"]], SEXES[name["sex"]]
            yield Row(path, name["person"], expression, name["session"], angle=name["angle"], group=group)
