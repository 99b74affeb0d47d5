"""CFD, the Chicago Face Database: CFD-WF-001-003-N.jpg, in one folder or a folder for each person."""

import re
from pathlib import Path

from visage.faces.layouts.rows import Found, Passed, Row, all_pictures

NAME = re.compile(r"CFD-(?P<person>(?P<group>[ABLWIM])(?P<sex>[FM])-\d{3})-(?P<shot>\d{3})-(?P<expression>N|A|F|HC|HO)")
# Happy faces come with the mouth closed and open.
EXPRESSIONS = {"N": "neutral", "A": "anger", "F": "fear", "HC": "happy", "HO": "happy"}
GROUPS = {"A": "asian", "B": "black", "L": "latino", "W": "white", "I": "indian", "M": "multiracial"}
SEXES = {"F": "female", "M": "male"}


def cfd(source: Path, _options: None = None) -> Found:
    """Most of its people are shown at rest only. The group is the name's own; the shot's number is the session."""
    for path in all_pictures(source):
        if name := NAME.fullmatch(path.stem.upper()):
            group = f"{GROUPS[name['group']]} {SEXES[name['sex']]}"
            yield Row(path, name["person"], EXPRESSIONS[name["expression"]], name["shot"], group=group)
        else:
            yield Passed(path, "is not named as CFD names pictures, such as CFD-WF-001-003-N.jpg")
