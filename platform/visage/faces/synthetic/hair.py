"""Hair: colour, the hair behind the head, and the hair over forehead and temples."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from visage.faces.synthetic.canvas import Array, Grid, bell, colour, mix, palette, patches, ramp, strands, unit
from visage.faces.synthetic.muscles import Face, half_head
from visage.faces.synthetic.person import Traits

_COLOURS = np.array([(24, 20, 20), (48, 32, 26), (86, 56, 38), (128, 88, 54), (176, 134, 84), (216, 182, 126)], float)


@lru_cache(maxsize=256)
def hair_colour(t: Traits) -> Array:
    """Mean colour of a person's hair, 3,1,1."""
    tint = palette(t.hair_colour, _COLOURS)
    tint = tint + np.float32(0.75 * t.hair_red) * (colour(164, 74, 36) - tint)
    return tint + np.float32(0.9 * t.hair_grey) * (colour(178, 176, 174) - tint)


@dataclass(frozen=True)
class Hair:
    """The hair of one picture: strand noise H,W and signed distances H,W (negative inside)."""

    noise: Array
    outline: Array  # against the backdrop
    opening: Array  # against the face
    end: float  # y of the tips before the ears
    end_behind: float


def combed(face: Face, grid: Grid, radius: Array) -> Hair:
    """How the hair lies."""
    t, lie = face.traits, face.nuisance.hair_lie
    x, y = grid.x[None, :], grid.y[:, None]
    aside = np.abs(x - np.float32(0.5 - 0.010 * face.nuisance.turn))
    part_x = np.float32(0.5 + 0.34 * (t.hair_parting - 0.5))
    curl = np.float32(min(1.0, 2 * t.hair_curl))
    # Strands run down from the parting, steeply in a fringe, sideways where the hair is combed back.
    flow = (x - part_x) / (y + np.float32(0.80 - 0.45 * t.hairline))
    flow = flow + np.float32(0.010 * lie) * np.sin(y * 7 + 1)
    flow = flow + np.float32(0.012 * t.hair_wave) * np.sin(y * 24 + 6 * x + 2 * lie) * ramp(y, 0.0, 0.4)
    noise = strands(t.grain, grid.pixel, flow * np.float32(0.9 - 0.30 * t.hairline) + np.float32(0.5))
    if curl > 0:
        noise = noise * (1 - curl) + curl * (0.7 * patches(t.grain, grid, 38) + 0.6 * patches(t.grain, grid, 90))
    rough = np.float32(0.008 + 0.012 * curl) * noise

    long = float(np.clip((t.hair_length - 0.45) / 0.2, 0, 1))
    tucked = t.hair_wave < 0.45 and long > 0
    volume = 0.012 + 0.085 * t.hair_volume * (0.3 + 0.7 * max(long, float(curl)))
    outline = (radius - 1) * np.float32(0.36) - np.float32(volume)
    if long > 0:
        half = half_head(t)
        swing = (
            np.sin(y * (8 + 5 * t.hair_volume) + 3 * t.hair_parting)
            * np.float32(0.018 * t.hair_wave)
            * ramp(y, 0.3, 0.6)
        )
        flare = np.float32(0.10 * (t.hair_volume - 0.3)) * ramp(y, 0.40, 1.0)
        falling = aside - np.float32(half + volume) - swing - flare
        outline = np.where(y < 0.45, np.minimum(outline, falling), falling)
    outline = outline + rough

    temple = 0.322 + 0.025 * (t.head_width - 0.5)
    top = 0.175 - 0.16 * t.hairline
    line = np.float32(top) + np.float32(0.34) * (aside / np.float32(temple)) ** np.float32(3.2 + 2 * t.hairline)
    # Hair swept from the parting comes lower on the far side.
    line = line + (x - part_x) * np.float32(0.34 * (0.5 - t.hair_parting) * (1 - t.hairline))
    sides = np.float32(temple + 0.012 - 0.02 * long) - aside + np.float32(0.6) * np.clip(0.30 - y, 0, 1)
    if long > 0 and not tucked:
        # Loose hair frames the face: closer at the cheeks, away at the chin.
        sides = sides - np.float32(0.035 * (1 - t.hairline)) * bell(y, 0.52, 0.16) + 0.5 * swing
    opening = np.minimum(y - line + rough, sides + rough * np.float32(0.6))
    end = 0.44 + 0.05 * t.hair_volume + (0.0 if tucked else 0.9 * long)
    return Hair(noise, outline, opening, end, 0.42 + 0.9 * long + 0.12 * float(curl))


def draw_hair_behind(image: Array, face: Face, grid: Grid, hair: Hair) -> None:
    """Paint the hair behind the head, in place."""
    y = grid.y[:, None]
    cover = grid.inside(hair.outline, 0.006) * (
        1 - ramp(y + hair.noise * 0.02, hair.end_behind, hair.end_behind + 0.06)
    )
    _paint(image, face, grid, cover, hair.noise, 0.62)


def draw_hair(image: Array, face: Face, grid: Grid, hair: Hair) -> None:
    """Paint the hair before the head and its shade on the skin, in place."""
    y = grid.y[:, None]
    kept = grid.inside(hair.outline, 0.006) * (1 - ramp(y + 0.02 * hair.noise, hair.end - 0.05, hair.end + 0.02))
    shade = unit(np.float32(0.75) - hair.opening * np.float32(16)) * kept
    image *= 1 - np.float32(0.38) * shade * shade
    soft = 0.008 + 0.014 * face.traits.hairline
    _paint(image, face, grid, grid.inside(hair.opening, soft) * kept, hair.noise, 1.0)


def _paint(image: Array, face: Face, grid: Grid, cover: Array, noise: Array, depth: float) -> None:
    light = face.nuisance
    base = hair_colour(face.traits)
    # A band of light across the strands, towards the lamp, and darkness in the depth.
    towards = bell(grid.x[None, :], 0.5 + 0.28 * light.light_x, 0.5)
    band = (bell(grid.y, 0.10, 0.16) + 0.35 * bell(grid.y, 0.75, 0.2))[:, None] * towards
    shade = np.float32(0.60) + np.float32(0.22) * noise + np.float32(0.24) * towards
    gleam = band * unit(np.float32(0.35) + np.float32(0.6) * noise)
    strength = np.float32(depth * light.exposure)
    mix(image, base * (shade * strength) + (base * np.float32(0.30) + np.float32(0.10)) * (gleam * strength), cover)
