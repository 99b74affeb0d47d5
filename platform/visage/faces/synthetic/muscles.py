"""Where the features of a face are: traits moved by action units.

Unit coordinates: x to the right, y down, 0..1 over the picture. `side` is -1 for the image's left (the person's
right) and +1 for the image's right. Distances come from anthropometry with the pupils 0.32 apart (63 mm).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from visage.faces.align import EYES
from visage.faces.synthetic.person import Traits

SIDES = (-1, 1)
EYE_Y = EYES[0][1]
EYE_X = (EYES[1][0] - EYES[0][0]) / 2
# Of the head at `Nuisance.turn` 1, by the nose: its tip moves 4.3 mm and stands out 25 mm. Nothing is foreshortened.
TURN_DEGREES = 10.0


def half_head(t: Traits) -> float:
    """Half the head's width where it is widest."""
    return 0.342 + 0.042 * (t.head_width - 0.5) + 0.012 * t.fullness


@dataclass(frozen=True)
class Nuisance:
    """What differs between pictures of one person. Light comes from (light_x, light_y) above or beside the camera."""

    light_x: float = -0.35
    light_y: float = -0.45
    warmth: float = 0.0
    fill: float = 0.5
    exposure: float = 1.0
    backdrop: tuple[float, float, float] = (150.0, 160.0, 170.0)
    turn: float = 0.0  # of the head to the image's left or right, in units of TURN_DEGREES
    nod: float = 0.0
    hair_lie: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator) -> "Nuisance":
        tone, hue = rng.uniform(60, 210), rng.uniform(-18, 18, 3)
        return cls(
            light_x=float(rng.uniform(-0.75, 0.75)),
            light_y=float(rng.uniform(-0.75, -0.1)),
            warmth=float(rng.uniform(-1, 1)),
            fill=float(rng.uniform(0.3, 0.8)),
            exposure=float(rng.uniform(0.92, 1.07)),
            backdrop=(float(tone + hue[0]), float(tone + hue[1]), float(tone + hue[2])),
            turn=float(np.clip(rng.normal(0, 0.45), -1, 1)),
            nod=float(np.clip(rng.normal(0, 0.4), -1, 1)),
            hair_lie=float(rng.uniform(-1, 1)),
        )

    def scaled(self, share: float) -> "Nuisance":
        """This setting `share` times as far from the middle of what is drawn, 1 being itself."""
        middles = {"light_x": 0.0, "light_y": -0.425, "warmth": 0.0, "fill": 0.55, "exposure": 0.995, "turn": 0.0,
                   "nod": 0.0, "hair_lie": 0.0}  # fmt: skip

        def moved(value: float, middle: float) -> float:
            return value + (share - 1) * (value - middle)  # in this order, so that 1 changes no bit

        red, green, blue = (float(np.clip(moved(tone, 135.0), 0, 255)) for tone in self.backdrop)
        rest = {name: moved(getattr(self, name), middle) for name, middle in middles.items()}
        return Nuisance(backdrop=(red, green, blue), **rest)

    def near(self, other: "Nuisance", share: float) -> "Nuisance":
        """This sitting moved a `share` of the way to another: two shots of one sitting. The backdrop stays."""
        names = ("light_x", "light_y", "warmth", "fill", "exposure", "turn", "nod", "hair_lie")
        moved = {name: (1 - share) * getattr(self, name) + share * getattr(other, name) for name in names}
        return Nuisance(backdrop=self.backdrop, **moved)


PLAIN = Nuisance()


@dataclass(frozen=True)
class Mouth:
    """The mouth: half widths and corners by side, lips' thickness, and how far it stands open above and below."""

    x: float
    y: float
    half: dict[int, float]
    lift: dict[int, float]  # corners upwards
    arch: float  # the middle upwards (AU 17)
    above: float  # opening above and below the line between the corners
    below: float
    drop: float  # of the jaw
    square: float  # 0: an oval opening, 1: a square one
    upper: float
    lower: float
    press: float
    dimple: dict[int, float]

    def corner(self, side: int) -> tuple[float, float]:
        return self.x + side * self.half[side], self.y - self.lift[side]


@dataclass(frozen=True)
class Eye:
    """An eye, inner corner to outer: half widths from the pupil, lid heights above and below it, the crease."""

    x: float
    y: float
    side: int
    inner: float
    outer: float
    slant: float
    upper: float
    lower: float
    iris: float
    crease: float


@dataclass(frozen=True)
class Face:
    """All features of one picture."""

    traits: Traits
    au: Mapping[int, float]
    nuisance: Nuisance
    middle: float  # x of the facial midline at the nose's tip; nearer parts move further when the head turns
    nose_y: float
    mouth: Mouth
    eyes: tuple[Eye, Eye]
    brows: dict[int, np.ndarray]  # side -> control points 4,2, inner to outer
    chin_y: float
    smile: dict[int, float]  # AU 12 by side
    sided: dict[int, Mapping[int, float]]  # all AUs by side


def posed(t: Traits, au: Mapping[int, float], nuisance: Nuisance, lopsided: float = 0.0) -> Face:
    """The features of a person showing action units; `au` holds every AU.

    lopsided, -1 to 1: by which share the AUs are weaker on the image's right (negative) or left (positive). What lies
    in the middle, as jaw and chin, moves as ever.
    """
    sided: dict[int, Mapping[int, float]] = dict.fromkeys(SIDES, au)
    if lopsided:
        weaker = 1 - abs(lopsided)
        sided[-1 if lopsided > 0 else 1] = {number: value * weaker for number, value in au.items()}
    turn, nod = nuisance.turn, nuisance.nod
    # AU 14 acts on the person's left (the image's right) and takes AU 12 with it.
    smile = {-1: sided[-1][12] * (1 - au[14]), 1: sided[1][12]}
    drop = 0.080 * au[26] + 0.115 * au[27] * (1 - 0.6 * au[26])
    nose_y = 0.598 + 0.056 * (t.nose_length - 0.5) - 0.010 * au[9] + 0.008 * nod
    chin_y = 0.945 + 0.045 * (t.chin_length - 0.5) + 0.8 * drop - 0.008 * au[17] + 0.008 * nod
    middle = 0.5 + 0.022 * turn
    return Face(
        traits=t,
        au=au,
        nuisance=nuisance,
        middle=middle,
        nose_y=nose_y,
        mouth=_mouth(t, au, sided, smile, drop, 0.5 + 0.016 * turn, 0.012 * nod),
        eyes=(_eye(t, sided[-1], -1), _eye(t, sided[1], 1)),
        brows={side: _brow(t, sided[side], side, 0.004 * turn, -0.006 * nod) for side in SIDES},
        chin_y=chin_y,
        smile=smile,
        sided=sided,
    )


def _mouth(
    t: Traits, au: Mapping[int, float], sided: Mapping[int, Mapping[int, float]], smile: dict[int, float], drop: float,
    x: float, down: float,
) -> Mouth:  # fmt: skip
    base = 0.120 + 0.044 * (t.mouth_width - 0.5)
    grin = 0.5 * (smile[-1] + smile[1])
    dimple = {-1: 0.0, 1: au[14]}
    half, lift = {}, {}
    for side in SIDES:
        own = sided[side]
        wider = 0.034 * smile[side] + 0.030 * own[20] + 0.012 * dimple[side] + 0.006 * own[15] + 0.006 * own[10]
        narrower = 0.016 * au[23] + 0.36 * drop * (1 - au[20]) + 0.010 * au[17]
        half[side] = base + wider - min(narrower, 0.04)
        raised = 0.002 + 0.034 * smile[side] + 0.008 * dimple[side]
        lift[side] = raised - 0.026 * own[15] - 0.008 * own[20] - 0.05 * drop
    # A broad smile bares the upper teeth even without AU 25.
    bared = 0.030 * min(1.0, max(0.0, grin - 0.35) / 0.5)
    above = 0.012 * au[25] + 0.020 * au[10] + 0.010 * au[20] + 0.010 * au[9] * (1 - au[17])
    above = min(above + 0.2 * bared, 0.024) + 0.48 * drop
    below = 0.010 * au[25] + bared + 0.014 * au[20] * (0.5 + 0.5 * au[25]) + 0.004 * au[10] + 0.55 * drop
    shut = 1 - 0.75 * max(au[17] * (1 - drop / 0.13), 0.9 * au[23] * (1 - au[25]))
    thin = 1 - 0.30 * grin - 0.35 * au[20] - 0.55 * au[23] - 0.15 * au[17] - 0.15 * au[9]
    return Mouth(
        x=x,
        y=0.748 + 0.03 * (t.mouth_height - 0.5) - 0.010 * au[17] - 0.004 * au[9] - 0.004 * grin + down + 0.42 * drop,
        half=half,
        lift=lift,
        arch=0.012 * au[17] + 0.006 * au[15],
        above=above * shut,
        below=below * shut,
        square=min(1.0, 0.7 * au[10] + 0.9 * au[20] + 0.3 * grin + 9 * drop),
        drop=drop,
        upper=(0.014 + 0.025 * t.lip_upper) * max(thin - 0.25 * au[10], 0.25),
        lower=(0.019 + 0.030 * t.lip_lower) * max(thin + 0.15 * au[17], 0.3),
        press=au[23],
        dimple=dimple,
    )


def _eye(t: Traits, au: Mapping[int, float], side: int) -> Eye:
    scale = 0.86 + 0.30 * t.eye_size
    opening = 0.0225 + 0.010 * t.eye_open + 0.009 * (t.eye_size - 0.5)
    # Tightened lids (6, 7) and a frown (4, 9) close, AU 5 opens wide; sorrow (1 with 4) lets the lid hang.
    upper = opening * (1 + 0.80 * au[5] - 0.28 * au[7] - 0.22 * au[6] - 0.12 * au[4] * (1 - au[5]) - 0.30 * au[9])
    upper *= 1 - 0.14 * au[1] * au[4] * (1 - au[5])
    lower = (0.0205 + 0.004 * t.eye_open) * (1 + 0.16 * au[5] - 0.38 * au[7] - 0.50 * au[6] - 0.42 * au[9])
    return Eye(
        x=0.5 + side * EYE_X,
        y=EYE_Y,
        side=side,
        inner=0.072 * scale,
        outer=0.076 * scale,
        slant=0.026 * (t.eye_slant - 0.35),
        upper=max(upper, 0.008),
        lower=max(lower, 0.006),
        iris=0.0295 + 0.003 * t.eye_size,
        crease=(0.010 + 0.018 * t.lid_crease) * (1 + 0.25 * au[5] - 0.35 * au[4]),
    )


def _brow(t: Traits, au: Mapping[int, float], side: int, right: float, down: float) -> np.ndarray:
    height = EYE_Y - 0.088 - 0.038 * t.brow_height + down
    inner_x = 0.050 + 0.028 * t.brow_gap
    tilt = 0.030 * (t.brow_tilt - 0.5)
    arch = 0.008 + 0.022 * t.brow_arch
    lowered = 0.044 * au[4] * (1 - 0.75 * au[1]) + 0.024 * au[9]
    inner_up = 0.048 * au[1] - lowered
    outer_up = 0.046 * au[2] - 0.020 * au[4] - 0.010 * au[9] - 0.008 * au[1] * (1 - au[2])
    together = 0.016 * au[4]
    along = np.array([0.0, 1 / 3, 2 / 3, 1.0])
    x = inner_x + (0.255 - inner_x) * along
    x -= together * (1 - along) ** 1.5
    y = height - tilt * (2 * along - 1) - arch * np.array([0.0, 0.75, 1.0, 0.0])
    y -= inner_up * (1 - along) ** 1.3 + outer_up * np.array([0.05, 0.45, 1.0, 0.75])
    return np.stack([0.5 + right + side * x, y], axis=1)
