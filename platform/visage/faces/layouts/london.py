"""The Face Research Lab London Set: neutral_front/NNN_03.jpg and smiling_front/NNN_08.jpg."""

import csv
import re
from pathlib import Path

from visage.faces.layouts.rows import Found, Passed, Row, pictures

FOLDERS = (("neutral_front", "neutral", "03"), ("smiling_front", "happy", "08"))


def london(source: Path, _options: None = None) -> Found:
    """Groups come from london_info.csv, where it is there: ethnicity and gender."""
    groups = {}
    info = source / "london_info.csv"
    if info.is_file():
        with info.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
            for line in csv.DictReader(lines):
                known = (line.get("face_eth"), line.get("face_gender"))
                groups[line.get("face_id", "")] = " ".join(word for word in known if word)
    for path in pictures(source):
        yield Passed(path, "is in neither of the folders neutral_front and smiling_front")
    for folder, expression, suffix in FOLDERS:
        for path in pictures(source / folder):
            if name := re.fullmatch(rf"(\d+)_{suffix}", path.stem):
                yield Row(path, name[1], expression, group=groups.get(name[1], ""))
            else:
                yield Passed(path, f"is not named as the London set names pictures, such as {folder}/001_{suffix}.jpg")
