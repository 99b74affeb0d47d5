"""Rendering: one person, one set of action units, one picture."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from threadpoolctl import ThreadpoolController

from visage.faces.facs import AUS, au_vector
from visage.faces.synthetic.canvas import Array, Dots, Grid, bell, colour, mix, ramp, unit
from visage.faces.synthetic.eyes import draw_brows, draw_eye
from visage.faces.synthetic.hair import combed, draw_hair, draw_hair_behind
from visage.faces.synthetic.mouth import draw_lips, draw_mouth, draw_nostrils, lip_relief
from visage.faces.synthetic.muscles import PLAIN, SIDES, Face, Nuisance, half_head, posed
from visage.faces.synthetic.person import Traits
from visage.faces.synthetic.skin import albedo, head_radius, lit, relief, skin_colour


def render(
    traits: Traits, aus: Mapping[int, float], size: int, nuisance: Nuisance = PLAIN, lopsided: float = 0.0
) -> Array:
    """The face of a person, uint8 size,size,3 RGB, its pupils at `align.EYES`.

    `aus` maps AU numbers to intensities in 0..1; AUs left out are at rest. `nuisance`: light, backdrop, exposure, a
    small turn of the head and the hair's lie; by default the plain studio. `lopsided`: as in `muscles.posed`. The same
    arguments give the same pixels. Raises ValueError for an unknown AU or an intensity outside 0..1.
    """
    # On one thread: the products are small, waiting threads cost more than they give, and the order of the sums,
    # so the last bit of every pixel, stays the same on any number of cores.
    with _threads().limit(limits=1, user_api="blas"):
        return _draw(traits, aus, size, nuisance, lopsided)


@lru_cache(maxsize=1)
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


def _draw(traits: Traits, aus: Mapping[int, float], size: int, nuisance: Nuisance, lopsided: float) -> Array:
    intensities = dict(zip(AUS, au_vector(aus).tolist(), strict=True))
    face, grid = posed(traits, intensities, nuisance, lopsided), Grid.of(size)
    radius = head_radius(face, grid)
    image = _backdrop(face, grid)
    hair = combed(face, grid, radius)
    draw_hair_behind(image, face, grid, hair)
    _neck(image, face, grid)
    _ears(image, face, grid)
    _head(image, face, grid, radius)
    for eye in face.eyes:
        draw_eye(image, eye, face, grid)
    draw_mouth(image, face, grid)
    draw_nostrils(image, face, grid)
    draw_hair(image, face, grid, hair)
    # The lamp's colour tints the whole picture.
    lamp = np.array([1 + 0.035 * nuisance.warmth, 1.0, 1 - 0.05 * nuisance.warmth], np.float32).reshape(3, 1, 1)
    image *= lamp
    return np.ascontiguousarray((unit(image) * 255 + np.float32(0.5)).astype(np.uint8).transpose(1, 2, 0))


def _backdrop(face: Face, grid: Grid) -> Array:
    x, y = grid.x[None, :], grid.y[:, None]
    glow = bell(x, 0.5 - 0.3 * face.nuisance.light_x, 0.7) * bell(y, 0.35, 0.8)
    return colour(*face.nuisance.backdrop) * (np.float32(0.72) + np.float32(0.35) * glow)


def _neck(image: Array, face: Face, grid: Grid) -> None:
    x, y = grid.x[None, :], grid.y[:, None]
    half = 0.215 + 0.05 * face.traits.jaw_width
    spread = np.float32(0.9) * unit(y - 0.90) ** np.float32(1.3)
    cover = grid.inside(np.abs(x - np.float32(0.5)) - half - spread, 0.006) * ramp(y, 0.55, 0.6)
    side = 1 - 0.6 * np.clip(np.abs(x - 0.5) / half, 0, 1.2) ** 3
    shade = (np.float32(0.58) + 0.2 * ramp(y, 0.86, 1.06)) * side * face.nuisance.exposure
    mix(image, skin_colour(face) * shade * colour(255, 238, 230), cover)


def _ears(image: Array, face: Face, grid: Grid) -> None:
    t = face.traits
    skin = skin_colour(face)
    tall = 0.078 + 0.022 * t.ears
    edge = half_head(t)
    for side in SIDES:
        x = 0.5 + side * (edge - 0.004 + 0.012 * t.ears) - 0.010 * face.nuisance.turn
        part, where = grid.window(x - 0.09, 0.30, x + 0.09, 0.70)
        dx, dy = (part.x[None, :] - np.float32(x)) / np.float32(0.036 + 0.008 * t.ears), part.y[:, None] - 0.475
        dx = dx + dy * np.float32(-side * 2.5)
        dy = dy / np.float32(tall)
        radius = np.sqrt(dx * dx + dy * dy)
        shade = np.float32(0.70) + 0.18 * bell(radius, 0.85, 0.25) - 0.22 * bell(radius, 0.55, 0.2)
        shade = shade * (1 + 0.18 * side * face.nuisance.light_x) * face.nuisance.exposure
        mix(image[:, *where], skin * shade * colour(255, 228, 222), part.inside((radius - 1) * 0.05, 0.003))


def _head(image: Array, face: Face, grid: Grid, radius: Array) -> None:
    height = relief(face, grid, radius)
    lip_relief(face, grid, height)
    diffuse, shine = lit(height, grid, face)
    paint = albedo(face, grid)
    draw_lips(paint, face, grid)
    draw_brows(paint, face, grid)
    hollow = Dots()
    hollow.both(0.078, 0.395, 0.03, 0.04, 0.22)
    hollow.add(face.mouth.x, face.chin_y + 0.02, 0.2, 0.04, 0.2)
    diffuse *= 1 - hollow.field(grid)
    paint *= diffuse
    paint += shine
    paint *= np.float32(face.nuisance.exposure)
    mix(image, paint, grid.inside((radius - 1) * np.float32(0.36), 0.004))
