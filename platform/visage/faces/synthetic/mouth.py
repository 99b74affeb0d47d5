"""The mouth: lips, teeth, tongue and the dark between; and the nostrils."""

import numpy as np

from visage.faces.synthetic.canvas import Array, Dots, Grid, bell, colour, mix, ramp, unit
from visage.faces.synthetic.muscles import SIDES, Face
from visage.faces.synthetic.skin import skin_colour


class Lips:
    """The four curves of the lips as functions of x over a grid, all of shape W."""

    def __init__(self, face: Face, grid: Grid) -> None:
        mouth = face.mouth
        from_middle = grid.x - np.float32(mouth.x)
        self.side = np.where(from_middle < 0, -1, 1)
        half = np.where(from_middle < 0, mouth.half[-1], mouth.half[1]).astype(np.float32)
        lift = np.where(from_middle < 0, mouth.lift[-1], mouth.lift[1]).astype(np.float32)
        self.along = from_middle / half
        t = unit(np.abs(self.along))
        up = lift > 0
        # Smiles bend evenly, sorrow hooks the corners.
        bend = np.where(up, t**1.9, t**2.6)
        line = np.float32(mouth.y) - lift * bend - np.float32(mouth.arch) * (1 - t * t)
        line += np.float32(0.0025) * (1 - mouth.arch / 0.018) * (bell(t, 0, 0.22) - bell(t, 0.45, 0.25))
        round_ = 1 - t * t
        power = np.float32(0.75 - 0.35 * mouth.square)
        opening = round_**power
        self.top_in = line - np.float32(mouth.above) * opening
        self.bottom_in = line + np.float32(mouth.below) * opening
        bow = 1 - 0.20 * bell(self.along, 0, 0.13) + 0.10 * bell(t, 0.22, 0.14)
        # Lips of an open mouth run round its corners.
        wrap = np.float32(min(4 * mouth.drop, 0.4))
        self.top = self.top_in - np.float32(mouth.upper) * round_ ** (0.85 - wrap) * bow
        self.bottom = self.bottom_in + np.float32(mouth.lower) * round_ ** (0.72 - wrap)
        self.line = line
        self.width = grid.inside((np.abs(self.along) - 1) * np.float32(0.11))


def lip_relief(face: Face, grid: Grid, height: Array) -> None:
    """Raise the lips in the height field, in place."""
    part, where = grid.window(0.28, 0.60, 0.72, 1.0)
    lips, mouth = Lips(face, part), face.mouth
    y = part.y[:, None]
    full = unit(1 - np.abs(lips.along) ** 2.5)[None, :]
    for start, end, amount in ((lips.top, lips.top_in, 0.008), (lips.bottom_in, lips.bottom, 0.013)):
        centre = (0.5 * (start + end))[None, :]
        wide = np.maximum(0.62 * (end - start), 0.006)[None, :]
        bump = (y - centre) / wide
        height[where] += np.float32(amount * (1 - 0.5 * mouth.press)) * full * np.exp(-bump * bump)


def draw_lips(image: Array, face: Face, grid: Grid) -> None:
    """Lay the lips on the skin's colour, in place."""
    t, mouth = face.traits, face.mouth
    part, where = grid.window(0.28, 0.60, 0.72, 1.0)
    view = image[:, *where]
    lips = Lips(face, part)
    y = part.y[:, None]
    soft = 0.006
    upper = part.inside(lips.top[None, :] - y, soft) * part.inside(y - lips.top_in[None, :] - 0.002, soft)
    lower = part.inside(lips.bottom_in[None, :] - y - 0.002, soft) * part.inside(y - lips.bottom[None, :], soft)
    skin = skin_colour(face)
    red = (
        skin * colour(236, 150, 148) * np.float32(1 - t.lip_red)
        + colour(190, 72, 82) * np.float32(t.lip_red * (1 - 0.45 * t.skin_tone))
        + skin * np.float32(0.15 * t.lip_red)
    )
    red = red * (1 - np.array([0.05, 0.2, 0.16], np.float32).reshape(3, 1, 1) * np.float32(0.5 * mouth.press))
    share = np.float32(0.62 + 0.30 * t.lip_red) * lips.width[None, :]
    mix(view, red * np.float32(0.86), upper * share)
    mix(view, red, lower * share)


def draw_mouth(image: Array, face: Face, grid: Grid) -> None:
    """Paint what lies between the lips over the lit face, in place: the dark, tongue, teeth, or the closed line."""
    mouth, light = face.mouth, face.nuisance
    part, where = grid.window(0.28, 0.60, 0.72, 1.0)
    view = image[:, *where]
    lips = Lips(face, part)
    x, y = part.x[None, :], part.y[:, None]
    top, bottom = lips.top_in[None, :], lips.bottom_in[None, :]
    gap = part.inside(top - y, 0.002) * part.inside(y - bottom, 0.002) * lips.width[None, :]
    gap = gap * ramp(bottom - top, 0.0, 0.006)
    inside = colour(58, 20, 22) * np.ones_like(gap)
    deep = mouth.above + mouth.below
    tongue = bell(x, mouth.x, 0.075) * ramp(y, mouth.y + mouth.below - 0.055, mouth.y + mouth.below)
    mix(inside, colour(176, 78, 80), tongue * np.float32(0.9))
    # The upper teeth belong to the skull, the lower ones to the jaw.
    off = (part.x - np.float32(mouth.x)) / np.float32(0.5 * (mouth.half[-1] + mouth.half[1]))
    smile = 0.5 * (mouth.lift[-1] + mouth.lift[1])
    arc = unit(1 - off * off)[None, :]
    shown = min(0.72 * deep, 0.036 - 0.20 * mouth.drop)
    row = top + np.float32(shown) * (0.55 + 0.45 * arc) - np.float32(0.15 * max(smile, 0.0)) * (1 - arc)
    teeth = part.inside(y - row, 0.003) * ramp(np.float32(1.0) - np.abs(off), 0.02, 0.20 + 3 * mouth.drop)[None, :]
    _teeth(inside, teeth, part, off, y - top, 0.034, light.exposure)
    jaw = bottom - np.float32(0.012 + 0.010 * face.au[20] + 0.006 * face.au[10]) * np.sqrt(arc)
    low = part.inside(jaw - y, 0.003) * part.inside(row + 0.004 - y, 0.002)
    low *= ramp(np.float32(0.75) - np.abs(off), 0.0, 0.25)[None, :]
    _teeth(inside, low * np.float32(0.85), part, off, bottom - y, 0.026, light.exposure * 0.88)
    inside *= 0.45 + 0.55 * ramp(y - top, -0.004, 0.014)
    mix(view, inside, gap)
    # The line between closed lips, and the shade in the corners.
    dark = skin_colour(face) * colour(92, 42, 40)
    closed = 1 - ramp(bottom - top, 0.0, 0.008)
    wide = float(np.hypot(0.0042, 0.5 * part.pixel))
    line = bell(y - lips.line[None, :], 0, wide) * np.float32(0.0042 / wide) * closed
    mix(view, dark, line * ramp(1.05 - np.abs(lips.along), 0.0, 0.12)[None, :] * np.float32(0.85))
    corners = Dots()
    for side in SIDES:
        cx, cy = mouth.corner(side)
        corners.add(cx - side * 0.002, cy, 0.009, 0.007, 0.50 + 0.35 * mouth.dimple[side])
    mix(view, dark, np.clip(corners.field(part), 0, 0.9))


def _teeth(inside: Array, cover: Array, grid: Grid, off: Array, depth: Array, wide: float, bright: float) -> None:
    """Lay a row of teeth over the inside of the mouth; `wide` is one middle tooth."""
    # Teeth look narrower to the sides, where the row turns away.
    turned = np.arcsin(np.clip(off * 0.93, -1, 1)) * np.float32(0.125 / wide)
    phase = turned - np.round(turned)
    thin = np.float32(np.hypot(0.055, 0.35 * grid.pixel / wide))
    gaps = np.exp(-((phase / thin) ** 2)) * np.float32(0.055 / thin)
    shade = (1 - 0.42 * gaps) * (1 - 0.35 * off * off)
    tooth = colour(243, 236, 222) * (shade[None, :] * np.float32(0.97 * bright) * (0.86 + 0.14 * ramp(depth, 0, 0.012)))
    mix(inside, tooth, cover)


def draw_nostrils(image: Array, face: Face, grid: Grid) -> None:
    """Darken nostrils and the nose's underside over the lit face, in place."""
    t, au = face.traits, face.au
    part, where = grid.window(0.36, 0.50, 0.64, 0.72)
    wide = 0.70 + 0.6 * t.nose_width
    y = face.nose_y + 0.015 - 0.018 * au[9]
    dots = Dots()
    for side in SIDES:
        x = face.middle + side * 0.036 * wide
        dots.line(
            [(x - side * 0.013, y + 0.005), (x - side * 0.002, y - 0.002), (x + side * 0.015 * wide, y)], 0.0088, 0.92
        )
        rim = face.middle + side * (0.074 + 0.006 * au[9]) * wide
        dots.line(
            [(rim - side * 0.004, y - 0.034), (rim + side * 0.006, y - 0.014), (rim - side * 0.010, y + 0.006)],
            0.0070,
            0.26 + 0.2 * au[9],
        )
    dots.add(face.middle, y + 0.010, 0.050 * wide, 0.010, 0.22)
    dots.add(face.middle - 0.05 * face.nuisance.light_x, y + 0.030, 0.045 * wide, 0.018, 0.16)
    mix(image[:, *where], skin_colour(face) * colour(96, 48, 42), np.clip(dots.field(part), 0, 0.92))
