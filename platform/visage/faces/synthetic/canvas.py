"""Drawing primitives in unit coordinates: soft dots and lines, anti-aliased edges, strand noise.

Everything is drawn natively at the picture's size. Whatever is narrower than a pixel keeps its integral, so that a
face looks the same at 32 and at 512 px.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Grid:
    """Pixel centres of a (part of a) square picture: x W, y H, both in 0..1 of the picture; `pixel` is one pixel."""

    x: Array
    y: Array
    pixel: float

    @classmethod
    def of(cls, size: int) -> "Grid":
        centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
        return cls(centres, centres, 1 / size)

    def window(self, left: float, top: float, right: float, bottom: float) -> tuple["Grid", tuple[slice, slice]]:
        """The part of a whole picture inside a box, and the slices that cut it out."""
        edges = [max(0, math.ceil(edge / self.pixel - 0.5)) for edge in (left, right, top, bottom)]
        columns, rows = slice(*edges[:2]), slice(*edges[2:])
        return Grid(self.x[columns], self.y[rows], self.pixel), (rows, columns)

    def inside(self, distance: Array, softness: float = 0.0) -> Array:
        """Coverage in 0..1 from a signed distance (negative inside), with a soft edge of at least a pixel."""
        return unit(np.float32(0.5) - distance * np.float32(1 / (self.pixel + softness)))


def unit(value: Array) -> Array:
    """Clipped to 0..1 (np.clip takes several times as long on small arrays)."""
    return np.minimum(np.maximum(value, np.float32(0)), np.float32(1))


def ramp(value: Array, start: float, end: float) -> Array:
    """Smooth step from 0 at `start` to 1 at `end`."""
    t = unit((value - np.float32(start)) * np.float32(1 / (end - start)))
    return t * t * (3 - 2 * t)


def bell(value: Array, centre: float, width: float) -> Array:
    """exp(-((value - centre) / width)^2)."""
    t = (value - np.float32(centre)) * np.float32(1 / width)
    return np.exp(-t * t)


def mix(below: Array, above: Array | float, share: Array) -> None:
    """Lay `above` (3,H,W or 3,1,1) over `below` (3,H,W), in place, with opacity `share` (H,W)."""
    below += share * (above - below)


@lru_cache(maxsize=512)
def colour(*rgb: float) -> Array:
    """An RGB colour of 0..255 as 3,1,1 in 0..1."""
    return np.array(rgb, np.float32).reshape(3, 1, 1) / np.float32(255)


def palette(position: float, stops: Array) -> Array:
    """The colour (3,1,1) at a position 0..1 along evenly spaced stops K,3 of 0..255."""
    at = np.clip(position, 0, 1) * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    return colour(*(stops[low] + (at - low) * (stops[low + 1] - stops[low])))


@lru_cache(maxsize=256)
def _lagrange(knots: int, count: int) -> Array:
    places, t = np.linspace(0, 1, knots), np.linspace(0, 1, count)
    weights = np.ones((count, knots))
    for i, place in enumerate(places):
        for other in np.delete(places, i):
            weights[:, i] *= (t - other) / (place - other)
    return weights


@lru_cache(maxsize=256)
def _taper(count: int, taper: float) -> Array:
    return 1 - np.abs(np.linspace(-1, 1, count)) ** (2 / taper) * 0.9


def curve(points: Array | Sequence[tuple[float, float]], count: int) -> Array:
    """A smooth curve (count, 2) through three or more control points K,2, by its Lagrange polynomial."""
    return _lagrange(len(points), count) @ np.asarray(points)


def _bells(axis: Array, centre: Array, width: Array) -> Array:
    bells = axis - centre
    bells *= 1 / width
    bells *= bells
    np.negative(bells, out=bells)
    # Not down to the denormal numbers, with which processors are slow.
    np.maximum(bells, np.float32(-30), out=bells)
    return np.exp(bells, out=bells)


@dataclass
class Dots:
    """A sum of Gaussian dots, drawn all at once as one matrix product."""

    parts: list[Array] = field(default_factory=list)
    single: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, x: float, y: float, wide: float, high: float, amount: float) -> None:
        """One dot, wide and high in units of exp(-1) radii."""
        self.single.append((x, y, wide, high, amount))

    def both(self, x: float, y: float, wide: float, high: float, amount: float, middle: float = 0.5) -> None:
        """A dot and its mirror image: at `middle` plus and minus x."""
        self.single += [(middle - x, y, wide, high, amount), (middle + x, y, wide, high, amount)]

    def many(self, points: Array, width: Array | float, amount: Array | float) -> None:
        """Round dots at points N,2."""
        rows = np.empty((len(points), 5))
        rows[:, :2] = points
        rows[:, 2] = width
        rows[:, 3] = width
        rows[:, 4] = amount
        self.parts.append(rows)

    def line(self, control: Sequence[tuple[float, float]], width: float, amount: float, taper: float = 1.0) -> None:
        """A smooth line through control points; its middle has the height `amount`, its ends taper off."""
        if abs(amount) < 1e-4:
            return
        length = sum(math.dist(a, b) for a, b in pairwise(control))
        count = max(4, math.ceil(length / width / 1.15))
        spacing = length / (count - 1)
        height = amount * spacing / (width * math.sqrt(math.pi))
        self.many(curve(control, count), width, height * _taper(count, taper))

    def field(self, grid: Grid) -> Array:
        """The sum over the dots at every pixel, H,W."""
        single = [np.array(self.single)] if self.single else []
        columns = np.concatenate([*self.parts, *single]).astype(np.float32).T.copy()
        x, y, wide, high, amount = columns[:, :, None]
        blur = np.float32((0.5 * grid.pixel) ** 2)
        drawn_wide, drawn_high = np.sqrt(wide * wide + blur), np.sqrt(high * high + blur)
        down = _bells(grid.y, y, drawn_high)
        down *= amount * wide * high / (drawn_wide * drawn_high)
        return down.T @ _bells(grid.x, x, drawn_wide)


@lru_cache(maxsize=64)
def _knots(seed: int, count: int) -> Array:
    return np.random.default_rng([0x4C, count, seed]).normal(0, 0.8, (count + 1, count + 1)).astype(np.float32)


@lru_cache(maxsize=16)
def _hats(count: int, size: int) -> Array:
    axis = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(count / size)
    return np.clip(1 - np.abs(axis - np.arange(count + 1, dtype=np.float32)[:, None]), 0, 1)


def patches(seed: int, grid: Grid, count: int) -> Array:
    """Soft patches, `count` across a whole picture: H,W, mean 0, about -1..1; finer than the pixels they fade."""
    hats = _hats(count, len(grid.x))
    return hats.T @ (_knots(seed, count) * np.float32(min(1.0, 1 / (count * grid.pixel)))) @ hats


@lru_cache(maxsize=64)
def _strands(seed: int, pixel: float) -> Array:
    rng = np.random.default_rng([0x48, seed])
    table = np.zeros(1024)
    at = np.arange(1024) / 1024
    for count, weight in ((22, 0.30), (80, 0.45), (210, 0.55)):
        # Strands finer than the pixels would only sparkle.
        seen = weight * np.exp(-((count * pixel * 1.2) ** 2))
        knots = rng.normal(0, 1, count + 1)
        knots[-1] = knots[0]
        table += seen * np.interp(at, np.arange(count + 1) / count, knots)
    return np.tanh(table).astype(np.float32)


def strands(seed: int, pixel: float, across: Array) -> Array:
    """Noise over the coordinate `across` (period 1), for hair: fine strands in thicker locks, mean 0, about -1..1."""
    return _strands(seed, pixel)[(across * 1024).astype(np.int32) & 1023]
