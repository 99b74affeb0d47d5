"""The head as a height field: bones and flesh, creases where action units fold the skin, and its shading."""

from functools import lru_cache

import numpy as np

from visage.faces.synthetic.canvas import Array, Dots, Grid, bell, colour, mix, palette, patches, ramp, unit
from visage.faces.synthetic.muscles import EYE_X, EYE_Y, SIDES, Face, half_head
from visage.faces.synthetic.person import Traits

_TONES = np.array(
    [(241, 210, 192), (235, 196, 170), (224, 178, 144), (194, 142, 106), (154, 106, 76), (114, 76, 54), (86, 56, 42)],
    float,
)

# Stubble hairs across the picture.
_STUBBLE = 180


def head_radius(face: Face, grid: Grid) -> Array:
    """Distance from the head's middle in units of its outline: 1 on the outline, H,W."""
    t = face.traits
    x = grid.x[None, :] - np.float32(0.5 - 0.010 * face.nuisance.turn)
    y = grid.y[:, None] - np.float32(0.46)
    half = half_head(t)
    down = y * np.float32(1 / (face.chin_y - 0.46))
    lower = unit(down)
    # The jaw narrows below the cheekbones; a square one only near the chin.
    narrow = (0.27 - 0.22 * (t.jaw_width - 0.5)) * lower ** (1.5 + 0.9 * t.jaw_square)
    temple = 0.04 * unit(-down)
    width = half * (1 - narrow - temple) + 0.012 * (t.cheekbones - 0.5) * bell(grid.y[:, None], 0.5, 0.1)
    across = np.abs(x) / width
    up = np.where(down > 0, down, y * np.float32(-1 / 0.62))
    power = np.float32(2.15 + 0.5 * t.jaw_square)
    return (across**power + np.abs(up) ** power) ** (1 / power)


def skin_colour(face: Face) -> Array:
    """Mean colour of the skin, 3,1,1."""
    return _skin_colour(face.traits)


@lru_cache(maxsize=256)
def _skin_colour(t: Traits) -> Array:
    tone = palette(t.skin_tone, _TONES)
    warm = t.skin_warmth - 0.5
    return tone * (1 + np.array([0.02, 0.0, -0.16], np.float32).reshape(3, 1, 1) * np.float32(warm))


def relief(face: Face, grid: Grid, radius: Array) -> Array:
    """Height of the head towards the camera, H,W, in units of the picture's side."""
    t, au = face.traits, face.au
    dots = Dots()
    middle, nose_y, mouth = face.middle, face.nose_y, face.mouth
    brow_y = float(np.mean([face.brows[side][1:3, 1].mean() for side in SIDES]))
    old = t.age

    dots.add(0.5, 0.16, 0.22, 0.12, 0.022)
    dots.both(0.15, brow_y + 0.012, 0.09, 0.028, 0.005 + 0.010 * t.brow_thickness)
    dots.add(middle, brow_y + 0.01, 0.05, 0.045, 0.007)
    dots.both(0.150, 0.372, 0.085, 0.045, -0.020)
    dots.both(0.082, 0.392, 0.030, 0.036, -0.016)
    dots.both(EYE_X, EYE_Y - 0.004, 0.056, 0.040, 0.017)
    # Nose: root, ridge, tip, wings, and the hollow beneath.
    bridge = 0.5 + 1.0 * t.nose_bridge
    wide = 0.70 + 0.6 * t.nose_width
    short = nose_y - 0.03 * au[9]
    dots.add(0.5 + 0.3 * (middle - 0.5), 0.40, 0.030, 0.065, 0.020 * bridge)
    dots.add(0.5 + 0.6 * (middle - 0.5), 0.480, 0.036 * (0.6 + 0.4 * wide), 0.060, 0.022 * bridge)
    dots.add(0.5 + 0.8 * (middle - 0.5), 0.550, 0.044 * (0.5 + 0.5 * wide), 0.045, 0.014)
    dots.add(middle, nose_y - 0.014, (0.042 + 0.008 * t.nose_tip) * wide, 0.036, 0.024 + 0.010 * t.nose_tip)
    dots.both((0.060 + 0.006 * au[9]) * wide, short + 0.004, 0.024, 0.024, 0.019, middle)
    dots.add(middle, nose_y + 0.042, 0.065, 0.018, -0.010)
    # Cheeks, raised by AU 6 and bunched by AU 12.
    lift = 0.03 * au[6]
    dots.both(0.225, 0.525 - lift, 0.095, 0.075, 0.016 + 0.016 * t.cheekbones + 0.014 * au[6])
    dots.both(0.20, 0.485 - 0.5 * lift, 0.075, 0.022, 0.012 * au[6])
    dots.both(0.245, 0.70, 0.060, 0.085, 0.020 * (t.fullness - 0.55))
    for side in SIDES:
        dots.add(middle + side * 0.185, 0.595 - 0.01 * au[6], 0.075, 0.060, 0.026 * face.smile[side])
    # Muzzle, philtrum, lips, chin.
    dots.add(mouth.x, mouth.y - 0.005, 0.13, 0.085, 0.022)
    dots.add(mouth.x, (nose_y + mouth.y) / 2 + 0.01, 0.010, 0.026, -0.0028)
    dots.both(0.019, (nose_y + mouth.y) / 2 + 0.01, 0.010, 0.026, 0.0014, mouth.x)
    under = mouth.y + mouth.below + mouth.lower
    dots.add(mouth.x, under + 0.022, 0.070, 0.020, -0.010 - 0.006 * au[17])
    chin = face.chin_y - 0.075
    dots.add(mouth.x, chin - 0.012 * au[17], 0.065, 0.042, 0.020 + 0.012 * au[17])
    _creases(dots, face, old * old)
    # The surface falls on beyond the outline, else the outline would catch light.
    height = np.float32(0.25) * np.sqrt(np.float32(1.16) - np.minimum(radius, 1.04) ** 3)
    return height + dots.field(grid)


def _creases(dots: Dots, face: Face, old: float) -> None:
    """Folds of the skin: what the action units press together, and what age has kept of it."""
    middle, nose_y, mouth = face.middle, face.nose_y, face.mouth
    for side in SIDES:
        au, smile = face.sided[side], face.smile[side]
        eye = face.eyes[0 if side < 0 else 1]
        corner_x, corner_y = mouth.corner(side)

        # Nasolabial fold, from the nose's wing around the mouth's corner.
        deep = 0.0012 + 0.0055 * old + 0.0090 * smile + 0.008 * au[10] + 0.008 * au[9] + 0.003 * au[20]
        wing = (middle + side * (0.063 + 0.028 * face.traits.nose_width), nose_y - 0.006)
        out = corner_x + side * (0.028 + 0.012 * smile)
        bow = (out + side * 0.006 * smile, 0.45 * wing[1] + 0.55 * corner_y)
        dots.line([wing, bow, (out - side * 0.002, corner_y + 0.012)], 0.0125, -deep, 1.3)
        # Around the nose's wing.
        root, wing_y = 0.063 + 0.028 * face.traits.nose_width, nose_y - 0.012 * au[9]
        dots.line(
            [
                (middle + side * root, wing_y - 0.030),
                (middle + side * (root + 0.014), wing_y - 0.004),
                (middle + side * (root - 0.002), wing_y + 0.020),
            ],
            0.0065,
            -0.0055 - 0.003 * au[9],
        )
        # The mouth's corner: dimpled by AU 14 and 12, drawn down by AU 15.
        pit = 0.003 + 0.004 * mouth.dimple[side] + 0.004 * smile
        dots.add(corner_x + side * 0.008, corner_y, 0.012, 0.014, -pit)
        dots.line(
            [(corner_x + side * 0.016, corner_y - 0.02), (corner_x + side * 0.026, corner_y),
             (corner_x + side * 0.018, corner_y + 0.022)],
            0.009, -0.0085 * mouth.dimple[side],
        )  # fmt: skip
        drawn = 0.010 * au[15] + 0.004 * old
        dots.line(
            [(corner_x + side * 0.004, corner_y + 0.004), (corner_x + side * 0.014, corner_y + 0.03),
             (corner_x + side * 0.010, corner_y + 0.06)],
            0.009, -drawn,
        )  # fmt: skip
        # Crow's feet and the furrow below the eye.
        x, y = eye.x + side * (eye.outer + 0.012), eye.y - eye.slant
        feet = 0.0055 * au[6] + 0.0015 * au[7] + 0.003 * old
        for rise, reach in ((-0.030, 0.042), (-0.004, 0.050), (0.022, 0.044)):
            dots.line(
                [(x, y + 0.3 * rise + 0.004), (x + side * reach / 2, y + 0.6 * rise), (x + side * reach, y + rise)],
                0.0058, -feet,
            )  # fmt: skip
        bag = 0.003 + 0.006 * old + 0.007 * au[6] + 0.004 * au[7] + 0.004 * au[9]
        low = eye.y + eye.lower + 0.020 - 0.005 * au[6]
        dots.line(
            [(eye.x - side * 0.062, eye.y + 0.018), (eye.x, low + 0.008), (eye.x + side * 0.065, eye.y + 0.020)],
            0.008, -bag,
        )  # fmt: skip
        # Between the brows (4) and beside the nose's root (9).
        inner = face.brows[side][0]
        frown = 0.0075 * au[4] * (1 - 0.5 * au[1]) + 0.004 * au[9] + 0.0015 * old
        top = (0.5 + side * 0.024, inner[1] - 0.045)
        dots.line([top, (0.5 + side * 0.020, inner[1] - 0.010), (0.5 + side * 0.024, inner[1] + 0.026)], 0.008, -frown)
        for step in range(3):
            level = 0.425 + 0.024 * step
            dots.line(
                [(0.5 + side * 0.010, level), (0.5 + side * 0.034, level - 0.014), (0.5 + side * 0.058, level - 0.002)],
                0.0075, -0.0062 * au[9],
            )  # fmt: skip
    # Forehead: across all of it by 1 and 2 together, in the middle alone by 1, arched in grief by 1 with 4.
    au = face.au
    level = min(face.brows[-1][:, 1].min(), face.brows[1][:, 1].min())
    for step in range(3):
        y = level - 0.045 - 0.042 * step
        lines = 0.0055 * au[2] + 0.0022 * old
        dots.line([(0.27, y + 0.004), (0.5, y - 0.010 + 0.010 * au[2]), (0.73, y + 0.004)], 0.0075, -lines, 0.9)
        sorrow = 0.006 * au[1] * (1 - 0.6 * au[2])
        dots.line([(0.38, y + 0.014), (0.5, y - 0.006), (0.62, y + 0.014)], 0.007, -sorrow)
    # The chin, dimpled by AU 17.
    chin = face.chin_y - 0.075
    rng = np.random.default_rng([0x17, face.traits.grain])
    if au[17] > 0:
        points = np.stack([mouth.x + rng.normal(0, 0.035, 40), chin - 0.01 + rng.normal(0, 0.018, 40)], axis=1)
        dots.many(points, 0.010, rng.choice((-1, 1), 40) * 0.0016 * au[17])


def lit(height: Array, grid: Grid, face: Face) -> tuple[Array, Array]:
    """Diffuse light (3,H,W, about 1 where it is full) and the highlight (H,W)."""
    light = face.nuisance
    slope_x, slope_y = np.empty_like(height), np.empty_like(height)
    across, down = height[:, 1:] - height[:, :-1], height[1:] - height[:-1]
    slope_x[:, 1:-1], slope_x[:, 0], slope_x[:, -1] = (across[:, 1:] + across[:, :-1]) / 2, across[:, 0], across[:, -1]
    slope_y[1:-1], slope_y[0], slope_y[-1] = (down[1:] + down[:-1]) / 2, down[0], down[-1]
    slope_x, slope_y = slope_x * np.float32(1 / grid.pixel), slope_y * np.float32(1 / grid.pixel)
    steep = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    direction = np.array([light.light_x, light.light_y, 0.85])
    lx, ly, lz = (direction / np.linalg.norm(direction)).astype(np.float32)
    facing = (lz - lx * slope_x - ly * slope_y) * steep
    key = unit((facing + 0.35) / 1.35)
    sky = 0.5 + 0.5 * (steep - slope_y * steep * np.float32(-0.5))
    fill = np.float32(0.28 + 0.22 * light.fill)
    shade = fill * sky + (np.float32(1.02) - fill) * key
    # Light that passes through the skin makes its shadows red.
    shade = np.clip(shade, 0.02, 1.25)
    diffuse = np.stack([shade**0.82, shade, shade**1.06])
    half = np.array([lx, ly, lz + 1])
    hx, hy, hz = (half / np.linalg.norm(half)).astype(np.float32)
    shine = unit((hz - hx * slope_x - hy * slope_y) * steep)
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine
    return diffuse, shine * shine * np.float32(0.075)


def albedo(face: Face, grid: Grid) -> Array:
    """The skin's colour before lighting, 3,H,W: blush, freckles, moles, shadowed folds, beard."""
    t = face.traits
    base = skin_colour(face)
    image = np.broadcast_to(base, (3, len(grid.y), len(grid.x))).copy()
    rosy = Dots()
    rosy.both(0.215, 0.56, 0.09, 0.075, 0.34)
    rosy.add(face.middle, face.nose_y - 0.01, 0.045, 0.035, 0.30)
    rosy.add(face.mouth.x, face.chin_y - 0.07, 0.06, 0.04, 0.15)
    blush = base * colour(250, 176, 165) * np.float32(1.02)
    mix(image, blush, rosy.field(grid) * np.float32(0.35 + 0.65 * (1 - t.skin_warmth)))
    rng = np.random.default_rng([0xF7, t.grain])
    marks = Dots()
    count = 90
    points = np.stack([rng.normal(0.5, 0.16, count), rng.normal(0.53, 0.09, count)], axis=1)
    strength = t.freckles * rng.uniform(0.15, 0.75, count)
    marks.many(points, rng.uniform(0.0035, 0.0075, count), strength)
    moles = rng.uniform((0.2, 0.2), (0.8, 0.9), (3, 2))
    marks.many(moles, rng.uniform(0.005, 0.008, 3), rng.uniform(0, 1, 3) ** 3)
    mix(image, base * colour(160, 105, 75), np.clip(marks.field(grid), 0, 0.85))
    image *= 1 + np.float32(0.02) * patches(t.grain, grid, 34)
    # Skin around the eyes is darker, and dark in the hollow corners.
    rings = Dots()
    rings.both(EYE_X, EYE_Y, 0.09, 0.055, 0.20 + 0.25 * t.age)
    rings.both(0.085, EYE_Y + 0.01, 0.03, 0.03, 0.22)
    mix(image, base * colour(190, 140, 135), unit(rings.field(grid)))
    if t.beard > 0.02 or t.moustache > 0.02:
        _beard(image, face, grid)
    return image


@lru_cache(maxsize=1)
def _stubble() -> Array:
    return np.random.default_rng(0xBEA).normal(0, 1, (_STUBBLE, _STUBBLE)).astype(np.float32)


def _beard(image: Array, face: Face, grid: Grid) -> None:
    from visage.faces.synthetic.hair import hair_colour

    t, mouth = face.traits, face.mouth
    x, y = np.abs(grid.x - np.float32(mouth.x))[None, :], grid.y[:, None]
    # From the sideburns down to the mouth's corners, then below the lip.
    edge = mouth.y - 0.005 - 1.35 * unit(x - 0.125) + 0.045 * bell(x, 0, 0.10)
    jaw = ramp(y - edge, 0.0, 0.055) * np.float32(t.beard)
    lip = bell(y, (face.nose_y + mouth.y) / 2 + 0.022, 0.026) * (1 - ramp(x, 0.09, 0.16))
    bare = bell(y, mouth.y + mouth.below + mouth.lower + 0.016, 0.016) * bell(x, 0.055, 0.035)
    jaw = jaw * (1 - 0.75 * bare)
    cover = np.maximum(jaw, lip * np.float32(t.moustache))
    noise = _stubble()
    rows, columns = (grid.y * _STUBBLE).astype(int), (grid.x * _STUBBLE).astype(int)
    # Where a pixel holds several hairs their differences average out.
    grain = noise[np.ix_(rows, columns)] * np.float32(0.16 * min(1.0, 1 / (_STUBBLE * grid.pixel)))
    mix(image, hair_colour(face.traits) * np.float32(0.8), np.clip(cover * (0.80 + grain), 0, 0.92))
