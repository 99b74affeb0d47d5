"""Oulu-CASIA NIR&VIS: sequences from neutral to peak, VL/Strong/P001/Anger/000.jpeg."""

import re
from collections import defaultdict
from pathlib import Path

from visage.config.data import OuluCasia
from visage.faces.layouts.rows import Found, Passed, Row, all_pictures

EXPRESSIONS = {
    "anger": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprise": "surprise",
}
CAMERAS = {"vl": "VL", "ni": "NI"}
LIGHTS = {"strong": "Strong", "weak": "Weak", "dark": "Dark"}
TEST_FROM = 73  # ExprGAN: P001 to P072 train, P073 to P080 test


def oulu_casia(source: Path, options: OuluCasia) -> Found:
    """The last frames of each sequence as its expression; the first ones of a person's sequences as neutral.

    Of a person, camera and light, `neutral_frames` sequences give their first frame, one each: by default there are as
    many neutral faces as faces of each expression, and not one for each of the six sequences.
    """
    sequences: dict[tuple[str, str, str, str], dict[int, Path]] = defaultdict(dict)
    for path in all_pictures(source):
        place = _place(path.relative_to(source))
        if place is None:
            yield Passed(path, "is not named as Oulu-CASIA names frames, such as VL/Strong/P001/Anger/000.jpeg")
            continue
        camera, light, *_ = place
        frame = int(path.stem)
        if camera not in options.cameras:
            yield Passed(path, f"camera {camera}", chosen=False)
        elif light not in options.lights:
            yield Passed(path, f"light {light}", chosen=False)
        elif frame in sequences[place]:
            yield Passed(path, f"is the same frame as {sequences[place][frame].relative_to(source).as_posix()}")
        else:
            sequences[place][frame] = path
    neutral: dict[tuple[str, str, str], int] = defaultdict(int)
    for (camera, light, person, expression), frames in sorted(sequences.items()):
        protocol = {"published": "test" if int(person[1:]) >= TEST_FROM else "train", "hash": ""}[options.protocol]
        peak = [frame for frame in sorted(frames) if frame][-options.peak_frames :]
        for frame, path in sorted(frames.items()):
            session = f"{camera}-{light}-{expression}-{frame:03d}"
            if frame in peak:
                yield Row(path, person, EXPRESSIONS[expression], session, published=protocol)
            elif frame == 0 and neutral[camera, light, person] < options.neutral_frames:
                neutral[camera, light, person] += 1
                yield Row(path, person, "neutral", session, published=protocol)
            else:
                yield Passed(path, "frame between neutral and peak" if frame else "further neutral frame", chosen=False)


def _place(path: Path) -> tuple[str, str, str, str] | None:
    """Camera, light, person and expression of a frame by the folders above it; None where they are named otherwise."""
    if len(path.parts) < 5 or not re.fullmatch(r"\d{1,4}", path.stem):
        return None
    camera, light, person, expression = path.parts[-5:-1]
    if not re.fullmatch(r"[Pp]\d{3}", person) or expression.lower() not in EXPRESSIONS:
        return None
    if camera.lower() not in CAMERAS or light.lower() not in LIGHTS:
        return None
    return CAMERAS[camera.lower()], LIGHTS[light.lower()], person.upper(), expression.lower()
