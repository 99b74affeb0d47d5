"""Who a procedural person is: continuous traits drawn from a seed."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Traits:
    """A person. Every trait is a float, most in 0..1 with 0.5 the average; `grain` seeds marks such as freckles."""

    head_width: float
    jaw_width: float
    jaw_square: float
    chin_length: float
    cheekbones: float
    fullness: float  # of the cheeks
    eye_size: float
    eye_open: float
    eye_slant: float
    eye_colour: float  # brown, hazel, green, blue, grey
    lid_crease: float
    lashes: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_gap: float
    nose_width: float
    nose_length: float
    nose_bridge: float
    nose_tip: float
    mouth_width: float
    mouth_height: float
    lip_upper: float
    lip_lower: float
    lip_red: float
    skin_tone: float  # light to dark
    skin_warmth: float  # rosy to golden
    freckles: float
    age: float
    beard: float
    moustache: float
    hair_colour: float  # black, brown, auburn, blond
    hair_red: float
    hair_grey: float
    hair_length: float  # cropped, ears, shoulders
    hair_volume: float
    hairline: float  # low fringe to receding
    hair_parting: float
    hair_wave: float
    hair_curl: float
    ears: float
    grain: int


def traits(person_seed: int) -> Traits:
    """The person of a seed: the same seed gives the same person, on any machine."""
    rng = np.random.default_rng([0x5649, person_seed])
    names = [field.name for field in fields(Traits) if field.name != "grain"]
    # Flat, not bell-shaped: people near the average would be hard to tell apart.
    drawn = dict(zip(names, rng.uniform(0, 1, len(names)).tolist(), strict=True))
    male, old = rng.uniform(), rng.uniform()

    def lean(name: str, towards: float, weight: float) -> None:
        drawn[name] += weight * (towards - drawn[name])

    # Traits that go together in people: without this they look put together from parts.
    for name in ("jaw_width", "jaw_square", "brow_thickness", "nose_width", "chin_length"):
        lean(name, male, 0.4)
    for name in ("lashes", "lip_red", "hair_length", "lip_upper", "lip_lower", "brow_arch", "brow_height"):
        lean(name, 1 - male, 0.5)
    drawn["skin_tone"] **= 1.25  # the darkest tones are rarer
    dark = max(0.0, (drawn["skin_tone"] - 0.45) / 0.55)
    lean("eye_colour", 0.1 * drawn["eye_colour"], min(1.0, 2 * dark))
    lean("hair_colour", 0.08, min(1.0, 1.8 * dark))
    drawn["hair_red"] = max(0.0, drawn["hair_red"] - 0.6) / 0.4 * max(0.0, 1 - 2.5 * drawn["skin_tone"])
    drawn["hair_curl"] = max(0.0, drawn["hair_curl"] - 0.75 + 0.6 * dark)
    lean("lip_upper", 0.9, 0.6 * dark)
    lean("lip_lower", 0.9, 0.5 * dark)
    drawn["freckles"] = max(0.0, drawn["freckles"] - 0.5) * 2 * (1 - dark)
    drawn["age"] = old**1.5
    drawn["hair_grey"] = min(1.0, max(0.0, old + 0.4 * drawn["hair_grey"] - 0.85) * 2.2)
    lean("hairline", 1.0, 0.6 * max(0.0, male - 0.4) * old)
    bearded = male > 0.5
    drawn["beard"] = max(0.0, drawn["beard"] - 0.35) / 0.65 if bearded else 0.0
    drawn["moustache"] = max(drawn["beard"] * 0.9, drawn["moustache"] - 0.5) if bearded else 0.0
    return Traits(**drawn, grain=int(rng.integers(2**31)))
