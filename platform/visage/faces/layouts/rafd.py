"""RaFD, the Radboud Faces Database: Rafd090_01_Caucasian_female_angry_frontal.jpg."""

import re
from pathlib import Path

from visage.config.data import Rafd
from visage.faces.layouts.rows import Found, Passed, Row, all_pictures

NAME = re.compile(
    r"rafd(?P<camera>000|045|090|135|180)_(?P<person>\d+)_(?P<kind>[a-z]+)_(?P<sex>female|male|kid)"
    r"_(?P<expression>[a-z]+)_(?P<gaze>frontal|left|right)"
)
EXPRESSIONS = {
    "neutral": "neutral",
    "happy": "happy",
    "sad": "sad",
    "surprised": "surprise",
    "fearful": "fear",
    "angry": "anger",
    "disgusted": "disgust",
    "contemptuous": "contempt",
}


def rafd(source: Path, options: Rafd) -> Found:
    """The group is the name's own words, such as `caucasian female`; the gaze stands as the session."""
    for path in all_pictures(source):
        name = NAME.fullmatch(path.stem.lower())
        if not name or name["expression"] not in EXPRESSIONS:
            yield Passed(
                path, "is not named as RaFD names pictures, such as Rafd090_01_Caucasian_female_angry_frontal.jpg"
            )
        elif int(name["camera"]) not in options.cameras:
            yield Passed(path, f"camera {int(name['camera'])}", chosen=False)
        elif name["gaze"] not in options.gazes:
            yield Passed(path, f"gaze {name['gaze']}", chosen=False)
        else:
            expression, group = EXPRESSIONS[name["expression"]], f"{name['kind']} {name['sex']}"
            yield Row(path, name["person"], expression, name["gaze"], angle=name["camera"], group=group)
