"""Eyes and brows."""

import numpy as np

from visage.faces.synthetic.canvas import Array, Dots, Grid, bell, colour, curve, mix, palette, ramp, unit
from visage.faces.synthetic.hair import hair_colour
from visage.faces.synthetic.muscles import SIDES, Eye, Face
from visage.faces.synthetic.skin import skin_colour

_IRISES = np.array([(62, 38, 24), (104, 66, 34), (124, 108, 58), (92, 128, 92), (92, 138, 172), (142, 160, 172)], float)


def draw_brows(image: Array, face: Face, grid: Grid) -> None:
    """Lay the brows on the skin's colour, hair by hair, in place."""
    t = face.traits
    tint = hair_colour(t) * np.float32(0.62) + skin_colour(face) * np.float32(0.06)
    top = min(b[:, 1].min() for b in face.brows.values()) - 0.05
    bottom = max(b[:, 1].max() for b in face.brows.values()) + 0.05
    part, where = grid.window(0.15, top, 0.85, bottom)
    dots = Dots()
    count = 76
    rng = np.random.default_rng([0xB0, t.grain])
    along = np.sort(rng.uniform(0, 1, count))
    length = rng.uniform(0.75, 1.1, count)
    spread = rng.uniform(-1, 1, count)
    half = 0.0075 + 0.0135 * t.brow_thickness
    profile = half * np.minimum(1.0, 0.62 + 2.2 * along) * (1 - 0.80 * along**2.2)
    for side in SIDES:
        spine = curve(face.brows[side], 33)
        place = along * 32
        low = np.minimum(place.astype(int), 31)
        leg = spine[low + 1] - spine[low]
        at = spine[low] + (place - low)[:, None] * leg
        # Hairs stand up at the inner end and lie down towards the temple.
        lean = np.arctan2(leg[:, 1], leg[:, 0] * side) - (0.95 * (1 - along) ** 3 + 0.22)
        reach = (0.020 + 0.010 * t.brow_thickness) * length
        step = np.stack([side * np.cos(lean), np.sin(lean)], axis=1)
        root = at + np.stack([np.zeros(count), spread * profile * 0.8 + 0.3 * profile], axis=1)
        for share in (0.1, 0.5, 0.9):
            dots.many(root + step * (reach * (share - 0.25))[:, None], 0.0046 - 0.0014 * share, 0.38)
        dots.many(at[::3], profile[::3] * 0.85, 0.15)
    mix(image[:, *where], tint, np.clip(dots.field(part), 0, 0.95))


def draw_eye(image: Array, eye: Eye, face: Face, grid: Grid) -> None:
    """Paint one eye over the lit face, in place: ball, iris, pupil, lids, lashes."""
    t, light = face.traits, face.nuisance
    part, where = grid.window(eye.x - 0.14, eye.y - 0.11, eye.x + 0.14, eye.y + 0.09)
    if not (len(part.x) and len(part.y)):
        return
    view = image[:, *where]
    outward = (part.x - np.float32(eye.x)) * np.float32(eye.side)
    along = np.where(outward > 0, outward / np.float32(eye.outer), outward / np.float32(eye.inner))
    body = np.sqrt(unit(1 - along * along))
    tilt = np.float32(eye.y) - np.float32(eye.slant) * along
    # The upper lid peaks towards the nose, the lower sags outwards.
    upper = tilt - np.float32(eye.upper) * body * (1 - 0.16 * along) + 0.006 * (1 - body)
    lower = tilt + np.float32(eye.lower) * body * (1 + 0.20 * along) + 0.006 * (1 - body)
    x, y = part.x[None, :], part.y[:, None]
    soft = 0.0025
    width = part.inside((np.abs(along) - 1) * 0.07)
    open_ = part.inside(upper[None, :] - y, soft) * part.inside(y - lower[None, :], soft) * width

    skin = skin_colour(face)
    _lids(view, eye, face, part, upper, lower, along, skin)
    distance = np.hypot(x - np.float32(eye.x), y - np.float32(eye.y))
    ball = colour(232, 227, 222) * (1 - np.float32(0.30) * (np.abs(along) ** 2)[None, :])
    ball = np.broadcast_to(ball, view.shape).copy()
    pink = bell(outward, -eye.inner * 1.0, 0.014)[None, :] * np.ones_like(y)
    mix(ball, colour(214, 138, 128), np.float32(0.8) * pink)
    iris = palette(t.eye_colour, _IRISES) * np.ones_like(distance)
    rim = ramp(distance, eye.iris * 0.72, eye.iris * 1.02)
    angle = np.arctan2(y - np.float32(eye.y), x - np.float32(eye.x))
    fibres = np.sin(angle * 23 + t.grain % 7) * np.sin(angle * 9 + 2) * np.float32(min(1.0, 0.006 / grid.pixel))
    iris *= (1 - 0.62 * rim) * (1 + 0.14 * fibres)
    # Light enters from above and gathers on the far side of the iris.
    glow = bell(x, eye.x - 0.010 * light.light_x, 0.022) * bell(y, eye.y + 0.014, 0.013)
    iris *= 1 + np.float32(0.75) * glow
    mix(iris, colour(140, 92, 40), bell(distance, 0.011, 0.006) * np.float32(0.30))
    mix(iris, colour(8, 7, 8), part.inside(distance - np.float32(0.0125), 0.002))
    mix(ball, iris, part.inside(distance - np.float32(eye.iris), 0.003))
    # The lid's shadow on the ball.
    ball *= 1 - np.float32(0.50) * (1 - ramp(y - upper[None, :], -0.004, 0.018))
    ball *= 1 - np.float32(0.15) * (1 - ramp(lower[None, :] - y, 0.0, 0.010))
    spark = Dots()
    spark.add(eye.x + 0.011 * light.light_x - 0.002, eye.y - 0.010, 0.0062, 0.0062, 1.0)
    spark.add(eye.x - 0.010 * light.light_x, eye.y + 0.010, 0.004, 0.004, 0.25)
    mix(ball, 1.0, unit(spark.field(part) * 1.1))
    ball *= np.float32(0.90 * light.exposure)
    mix(view, ball, open_)
    _lashes(view, eye, face, part, upper, lower, along)


def _lids(view: Array, eye: Eye, face: Face, grid: Grid, upper: Array, lower: Array, along: Array, skin: Array) -> None:
    y = grid.y[:, None]
    across = (np.clip(1.12 - np.abs(along), 0, 0.4) / 0.4)[None, :]
    dark = skin * colour(120, 72, 62)
    # Crease: the fold between lid and brow bone, with the lid's shade above and its roundness below.
    fold = upper - np.float32(eye.crease) * unit(1.1 - along * along * 0.9)
    width = 0.0045
    seen = np.float32(min(1.0, width / np.hypot(width, 0.5 * grid.pixel)))
    wide = float(np.hypot(width, 0.5 * grid.pixel))
    mix(view, dark, bell(y - fold[None, :], 0, wide) * across * seen * np.float32(0.75))
    mix(view, dark, bell(y - fold[None, :], -0.010, 0.014) * across * np.float32(0.18))
    mix(view, dark, bell(y - upper[None, :], -0.004, 0.009) * across * np.float32(0.35))
    # The lower lid's moist rim and the shade under it.
    mix(view, skin * colour(255, 205, 195), bell(y - lower[None, :], 0.004, 0.0045) * across * np.float32(0.45))
    mix(view, dark, bell(y - lower[None, :], 0.014, 0.008) * across * np.float32(0.22))


def _lashes(view: Array, eye: Eye, face: Face, grid: Grid, upper: Array, lower: Array, along: Array) -> None:
    t = face.traits
    y = grid.y[:, None]
    ink = hair_colour(t) * np.float32(0.12) + colour(14, 8, 6)
    ends = (np.clip(1.06 - np.abs(along), 0, 0.25) / 0.25)[None, :]
    heavy = (0.0034 + 0.0026 * t.lashes) * (1 + 0.35 * np.clip(along, -1, 1))[None, :]
    line = grid.inside(np.abs(y - upper[None, :] + 0.002) - heavy, 0.003)
    mix(view, ink, line * ends * np.float32(0.70 + 0.28 * t.lashes))
    mix(view, ink, grid.inside(np.abs(y - lower[None, :]) - 0.0012, 0.003) * ends * np.float32(0.30 + 0.25 * t.lashes))
    # Single lashes, longer towards the temple.
    count = 17
    at = np.linspace(-0.55, 1.02, count)
    roots_x = eye.x + eye.side * np.where(at > 0, at * eye.outer, at * eye.inner)
    roots_y = np.interp(roots_x, grid.x, upper)
    reach = (0.008 + 0.016 * t.lashes) * (0.5 + 0.5 * unit(at + 0.3))
    dots = Dots()
    for share in (0.2, 0.5, 0.8, 1.0):
        x = roots_x + eye.side * reach * (0.15 + 0.8 * at) * share
        rise = reach * share * (1.15 - 0.45 * share)
        dots.many(np.stack([x, roots_y - rise], axis=1), 0.0022, 0.55 * (1.15 - share))
    mix(view, ink, np.clip(dots.field(grid), 0, 0.9))
