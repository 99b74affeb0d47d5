"""Hair: colour, the hair behind the head, and the hair over forehead and temples."""

import numpy as np

from visage.faces.synthetic.canvas import Array, Grid, Strands, bell, colour, mix, palette, ramp
from visage.faces.synthetic.muscles import Face
from visage.faces.synthetic.person import Traits

_COLOURS = np.array([(24, 20, 20), (48, 32, 26), (86, 56, 38), (128, 88, 54), (176, 134, 84), (216, 182, 126)], float)


def hair_colour(t: Traits) -> Array:
    """Mean colour of a person's hair, 3,1,1."""
    tint = palette(t.hair_colour, _COLOURS)
    tint = tint + np.float32(0.75 * t.hair_red) * (colour(164, 74, 36) - tint)
    return tint + np.float32(0.9 * t.hair_grey) * (colour(178, 176, 174) - tint)


def draw_hair(image: Array, face: Face, grid: Grid, radius: Array, *, behind: bool) -> Array:
    """Paint the hair behind or before the head, in place; returns its coverage, H,W."""
    t, lie = face.traits, face.nuisance.hair_lie
    x, y = grid.x[None, :], grid.y[:, None]
    head_x = np.float32(0.5 - 0.010 * face.nuisance.turn)
    aside = np.abs(x - head_x)
    part_x = np.float32(0.5 + 0.30 * (t.hair_parting - 0.5))
    # Strands run down from the parting, steeply in a fringe, sideways where the hair is combed back.
    flow = (x - part_x) / (y + np.float32(0.62 - 0.40 * t.hairline))
    flow = flow + np.float32(0.010 * lie) * np.sin(y * 7 + 1)
    flow = flow + np.float32(0.012 * t.hair_wave) * np.sin(y * 24 + 6 * x + 2 * lie) * ramp(y, 0.0, 0.4)
    if t.hair_curl > 0.3:
        flow = flow + np.float32(0.05 * t.hair_curl) * np.sin(y * 70 + 9 * np.sin(x * 55))
    noise = Strands(t.grain, grid.pixel)(flow * np.float32(0.75 - 0.30 * t.hairline) + np.float32(0.5))
    long = float(np.clip((t.hair_length - 0.45) / 0.2, 0, 1))
    volume = 0.015 + 0.075 * t.hair_volume * (0.35 + 0.65 * max(long, t.hair_curl))
    rough = np.float32(0.009 + 0.02 * t.hair_curl) * noise
    if behind:
        outer = (radius - 1) * np.float32(0.36) - np.float32(volume)
        if long > 0:
            falling = aside - np.float32(0.355 + 0.9 * volume) - np.float32(0.02) * np.sin(y * 9) * t.hair_wave
            below = np.maximum(falling, 0.45 - y)
            outer = np.minimum(outer, below)
        end = 0.42 + 0.9 * long + (0.1 if t.hair_curl > 0.3 else 0.0)
        cover = grid.inside(outer + rough, 0.006) * (1 - ramp(y + noise * 0.02, end, end + 0.06))
        depth = 0.62
    else:
        temple = 0.325 + 0.025 * (t.head_width - 0.5)
        top = 0.175 - 0.16 * t.hairline
        arch = np.float32(top) + np.float32(0.34) * (aside / np.float32(temple)) ** np.float32(3.2 + 2 * t.hairline)
        # Hair swept from the parting comes lower on the far side.
        sweep = (x - part_x) * np.float32(0.26 * (0.5 - t.hair_parting) * (1 - t.hairline))
        line = arch + sweep + rough * np.float32(1.2)
        edge = np.maximum(y - line, np.float32(-0.2))
        side_wall = np.float32(temple + 0.012 - 0.02 * long) - aside + 0.5 * rough
        over = np.minimum(edge, side_wall * np.float32(1.0) + np.clip(0.30 - y, 0, 1) * np.float32(1.5))
        reach = 0.44 + 0.05 * t.hair_volume + 0.9 * long
        outer = (radius - 1) * np.float32(0.36) - np.float32(volume)
        cover = grid.inside(over, 0.010 + 0.014 * t.hairline) * (1 - ramp(y + 0.02 * noise, reach - 0.05, reach + 0.02))
        if long == 0:
            cover = cover * grid.inside(outer + rough, 0.006)
        else:
            falling = aside - np.float32(0.355 + 0.9 * volume) - np.float32(0.02) * np.sin(y * 9) * t.hair_wave
            cover = cover * grid.inside(np.where(y < 0.45, np.minimum(outer, falling), falling) + rough, 0.006)
        depth = 1.0
    _paint(image, face, cover, noise, x, y, depth)
    return cover


def _paint(image: Array, face: Face, cover: Array, noise: Array, x: Array, y: Array, depth: float) -> None:
    light = face.nuisance
    base = hair_colour(face.traits)
    # A band of light across the strands, towards the lamp, and darkness in the depth.
    towards = x - np.float32(0.5 + 0.28 * light.light_x)
    band = bell(y, 0.10, 0.16) * bell(towards, 0, 0.42) + 0.35 * bell(y, 0.75, 0.2) * bell(towards, 0, 0.5)
    shade = np.float32(0.62) + np.float32(0.20) * noise + np.float32(0.26) * bell(towards, 0, 0.5)
    gleam = band * np.clip(0.35 + 0.6 * noise, 0, 1.0)
    strands = base * (shade * np.float32(depth)) + (base * np.float32(0.30) + np.float32(0.10)) * (
        gleam * np.float32(depth)
    )
    mix(image, strands * np.float32(light.exposure), cover)
