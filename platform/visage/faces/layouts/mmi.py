"""MMI: sequences from rest to an apex and back; Sessions/501/S001-001.avi with S001-001.xml beside it.

The set gives videos. Their frames are to lie beside them as pictures, numbered from 1:
ffmpeg -i S001-001.avi S001-001-%04d.png. S001-001.xml names the emotion; S001-001-oao_aucs.xml, where it is there, the
frames in which each action unit rises, peaks, falls and ends.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.config.data import Mmi
from visage.errors import UserError, one_line
from visage.faces.facs import AUS
from visage.faces.layouts.rows import Found, Passed, Row, all_pictures

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

FRAME = re.compile(r"(?P<clip>(?P<person>S\d{3})-\d{3,4})-(?P<frame>\d{1,5})")
FIRST = 1
EMOTIONS = {"1": "anger", "2": "disgust", "3": "fear", "4": "happy", "5": "sad", "6": "surprise"}
RISES, PEAKS, FALLS = 1, 2, 3  # types of the markers; 0 is rest


@dataclass(frozen=True)
class Clip:
    """What the files beside a video say. spans: of each AU, first and last frame of its apex; None without the file."""

    expression: str
    spans: dict[int, tuple[int, int]] | None = field(default=None)

    def aus(self, frame: int) -> tuple[float, ...]:
        """Coded AUs are there or not; their strength is not coded. Empty without the file."""
        if self.spans is None:
            return ()
        return tuple(float(low <= frame <= high) for low, high in (self.spans.get(au, (1, 0)) for au in AUS))


def mmi(source: Path, options: Mmi) -> Found:
    """The first frame of each sequence as neutral, and `peak_frames` of its apex as its expression.

    The apex is where most of the coded AUs peak; where they are not coded, the middle of the sequence.
    """
    frames: dict[Path, dict[int, tuple[Path, str]]] = defaultdict(dict)
    for path in all_pictures(source):
        name = FRAME.fullmatch(path.stem)
        if not name:
            yield Passed(path, "is not named as frames of MMI are, such as Sessions/501/S001-001-0001.png")
            continue
        clip, number = path.with_name(name["clip"]), int(name["frame"])
        if number in frames[clip]:
            yield Passed(path, f"is the same frame as {frames[clip][number][0].relative_to(source).as_posix()}")
        else:
            frames[clip][number] = path, name["person"]
    for clip, own in sorted(frames.items()):
        facts = read_clip(clip)
        apex = _apex(sorted(set(own) - {FIRST}), facts, options.peak_frames) if facts else []
        for number, (path, person) in sorted(own.items()):
            session = f"{clip.name}-{number:04d}"
            if facts is None:
                yield Passed(path, "no emotion named in its XML", chosen=False)
            elif number == FIRST:
                yield Row(path, person, "neutral", session, aus=facts.aus(number))
            elif number in apex:
                yield Row(path, person, facts.expression, session, aus=facts.aus(number))
            else:
                yield Passed(path, "frame between rest and apex", chosen=False)


def _apex(numbers: list[int], clip: Clip, count: int) -> list[int]:
    """At most `count` frames, evenly spread over the apex."""
    if clip.spans:
        active = np.array([sum(low <= n <= high for low, high in clip.spans.values()) for n in numbers])
        peak = [n for n, most in zip(numbers, active == active.max(), strict=True) if most and active.max()]
    else:
        peak = numbers[len(numbers) * 3 // 8 : max(len(numbers) * 5 // 8, len(numbers) * 3 // 8 + 1)]
    if not peak:
        return []
    return [peak[place] for place in np.linspace(0, len(peak) - 1, min(count, len(peak))).round().astype(int)]


def read_clip(clip: Path) -> Clip | None:
    """What is known of the video `clip` (without its ending); None where no basic emotion is named.

    Raises UserError for a file that is no XML of this kind.
    """
    facts = clip.with_name(f"{clip.name}.xml")
    if not facts.is_file():
        return None
    tags = {tag.get("Name"): tag.get("Value", "") for tag in _xml(facts).iter("Metatag")}
    expression = EMOTIONS.get(tags.get("Emotion", ""))
    if expression is None:
        return None
    codes = clip.with_name(f"{clip.name}-oao_aucs.xml")
    return Clip(expression, _spans(codes) if codes.is_file() else None)


def _spans(codes: Path) -> dict[int, tuple[int, int]]:
    found = {}
    for unit in _xml(codes).iter("ActionUnit"):
        number = re.fullmatch(r"[LR]?(\d+)", unit.get("Number", ""))
        try:
            at = {int(mark.get("Type", "")): int(mark.get("Frame", "")) for mark in unit.iter("Marker")}
        except ValueError:
            raise UserError(f"{codes}: a marker has no number; fetch the file anew or remove it.") from None
        if number and int(number[1]) in AUS and PEAKS in at:
            found[int(number[1])] = (at[PEAKS], at.get(FALLS, at[PEAKS]))
    return found


def _xml(path: Path) -> "Element":
    from xml.etree.ElementTree import ParseError

    import defusedxml.ElementTree

    try:
        return defusedxml.ElementTree.parse(path).getroot()
    except (OSError, ParseError, ValueError) as error:
        raise UserError(f"{path}: is no readable XML ({one_line(error)}); fetch it anew or remove it.") from None
