"""Which faces: the data section of an experiment, and what `visage prepare` reads."""

import os
import re
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from visage.infra.remote_store import address_fault, is_address

HOME = "VISAGE_HOME"  # names the folder that runs/ lies in, where a process may not write in the one it works in
STORAGE = "VISAGE_STORAGE"  # names the address that nodes without a shared folder have in common
Layout = Literal["kdef", "rafd", "oulu-casia", "london", "cfd", "mmi", "folder", "unpaired", "synthetic"]


def stored(variable: str, local: str) -> Callable[[], str]:
    """The default of a store's address: what the environment names, as a cluster's does, else a local file."""
    return lambda: os.environ.get(variable) or local


def _usable(address: str) -> str:
    if fault := address_fault(address):
        raise ValueError(fault)
    return address


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if twice := [value for value, count in Counter(values).items() if count > 1]:
        raise ValueError(f"{twice[0]} stands in it twice; name each once")
    return values


Address = Annotated[str, AfterValidator(_usable)]
EachOnce = AfterValidator(_each_once)


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Shares(Section):
    """Shares of the people in each part. A part may be small, never empty."""

    train: float = Field(0.7, gt=0, lt=1)
    validation: float = Field(0.1, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)

    @model_validator(mode="after")
    def _sum(self) -> "Shares":
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares add up to {total:g}; make them add up to 1")
        return self


LONDON_SHARES = Shares(train=0.55, validation=0.08, test=0.37)  # 30 of 82 people for the test; the gate needs 20


class Kdef(Section):
    """Which pictures of KDEF. The paper names the set alone; both sessions, seen from the front, are our reading."""

    sessions: tuple[Literal["A", "B"], ...] = Field(("A", "B"), min_length=1)
    angles: tuple[Literal["FL", "HL", "S", "HR", "FR"], ...] = Field(
        ("S",), min_length=1, description="full left, half left, straight, half right, full right"
    )


class Rafd(Section):
    """Which pictures of RaFD. The paper names the set alone; the frontal camera and gaze are our reading."""

    cameras: tuple[Literal[0, 45, 90, 135, 180], ...] = Field(
        (90,), min_length=1, description="angle of the camera, 90 is frontal; StarGAN took 45, 90 and 135"
    )
    gazes: tuple[Literal["frontal", "left", "right"], ...] = Field(
        ("frontal",), min_length=1, description="StarGAN took all three"
    )


class OuluCasia(Section):
    """Which frames of Oulu-CASIA: ExprGAN's choice, visible light in a strongly lit room, the last frames as peak."""

    cameras: tuple[Literal["VL", "NI"], ...] = Field(("VL",), min_length=1, description="visible light, near infrared")
    lights: tuple[Literal["Strong", "Weak", "Dark"], ...] = Field(("Strong",), min_length=1)
    peak_frames: int = Field(3, ge=1, description="frames at the end of a sequence that show the expression")
    neutral_frames: int = Field(
        3, ge=0, le=6, description="neutral faces of a person: the first frame of so many sequences, one of each"
    )
    protocol: Literal["published", "hash"] = Field(
        "published", description="published: P073 to P080 are the test people, as in ExprGAN; hash: by `shares`"
    )


class Mmi(Section):
    """Which frames of MMI: its sequences come back to rest, so that the peak lies in the middle and not at the end."""

    peak_frames: int = Field(3, ge=1, description="frames of the apex, evenly spread, that show the expression")


class InShards(Section):
    """Training people in Parquet shards, for sets that no machine is to hold whole."""

    mb: float | None = Field(
        None,
        gt=0,
        description="`visage prepare` writes the training people in shards of so many MB of pixels, 64 being usual; "
        "none: one packed array",
    )
    window: int = Field(
        16, ge=2, description="shards that a worker draws from at once; one more than these lies in its memory"
    )
    cache_gb: float = Field(
        20, ge=0, description="what shards from an address may take of each machine's disk, in GB, to be read again"
    )


def copy_of(address: str) -> Path:
    """Where a machine keeps its copy of the face set at an address, under the folder that a command runs in."""
    name = "-".join(re.findall(r"[\w.-]+", address))
    return Path("runs/data") / f"{name}-{sha256(address.rstrip('/').encode()).hexdigest()[:8]}"


# The fields that say something about one layout alone.
OWN_FIELDS = {
    "kdef": ("kdef",),
    "rafd": ("rafd",),
    "oulu-casia": ("oulu_casia",),
    "mmi": ("mmi",),
    "synthetic": ("people", "pictures", "seed", "nuisance", "turn", "fine", "units"),
}


class Data(Section):
    """Which faces. `dir` is the face set; with `layout` it is prepared at first use if it is not there."""

    dir: Path = Field(
        description="folder of the face set, as `visage prepare` makes it, or its address (s3://BUCKET/FOLDER), of "
        "which each machine makes a copy"
    )
    address: Address | None = Field(
        None,
        description="what `dir` is the copy of; set by giving `dir` an address, or a relative path where "
        "VISAGE_STORAGE names a bucket's folder for the nodes of a cluster",
    )
    layout: Layout | None = Field(None, description="how the source names its faces")
    source: Path | None = Field(None, description="folder of the photographs; none for `synthetic`")
    size: Literal[32, 64, 128, 256, 512] = Field(64, description="side of an aligned face in pixels")
    expressions: Annotated[tuple[str, ...], Field(min_length=2), EachOnce] | None = Field(
        None, description="keep only these; none: all that the source holds"
    )
    kdef: Kdef = Kdef()
    rafd: Rafd = Rafd()
    oulu_casia: OuluCasia = OuluCasia()
    mmi: Mmi = Mmi()
    people: int = Field(160, ge=10, description="`synthetic`: number of people")
    pictures: int = Field(2, ge=1, description="`synthetic`: pictures of each person and expression")
    seed: int = Field(0, ge=0, description="`synthetic`: who the people are")
    nuisance: float = Field(
        1, ge=0, le=2, description="`synthetic`: how much light, pose, hair and backdrop of a person's pictures differ"
    )
    turn: float = Field(0, ge=0, le=15, description="`synthetic`: heads turn anew in each picture, by so many degrees")
    fine: bool = Field(False, description="`synthetic`: each expression also at half strength, and on one side alone")
    units: int = Field(
        0,
        ge=0,
        description="`synthetic`: so many further people show random action units, each side on its own, in place of "
        "expressions; a transfer learns from three in four of them alone, and the rest, 50 at most, teach the judge of "
        "action units",
    )
    shards: InShards = InShards()
    shares: Shares = Shares()
    split_as: str | None = Field(
        None,
        description="a face set, by folder or address, whose people keep their parts; the shares rule the others",
    )

    @model_validator(mode="before")
    @classmethod
    def _shares_of_layout(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("layout") == "london":
            return {"shares": LONDON_SHARES, **data}
        return data

    @model_validator(mode="before")
    @classmethod
    def _at_an_address(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not data.get("dir"):
            return data
        place, storage = str(data["dir"]), os.environ.get(STORAGE)
        if recorded := data.get("address"):
            # As a run's record has it; where another folder was laid over that, it is no copy of the address.
            own = copy_of(str(recorded)).parts
            if Path(place).parts[-len(own) :] == own:
                return data
            data = {**data, "address": None}
        if storage and not is_address(place) and not Path(place).is_absolute() and ".." not in Path(place).parts:
            place = f"{storage.rstrip('/')}/{Path(place).as_posix()}"
        return {**data, "address": place, "dir": copy_of(place)} if is_address(place) else data

    @field_validator("source", mode="before")
    @classmethod
    def _folder(cls, path: Any) -> Any:
        if is_address(path):  # else a folder of that name would be looked for
            raise ValueError("is an address; copy the photographs to a folder, and give that")
        return path

    @model_validator(mode="after")
    def _of_this_layout(self) -> "Data":
        if self.layout == "synthetic" and self.source is not None:
            raise ValueError(f"layout synthetic makes its faces and reads none; remove source ({self.source})")
        # By their values, as an experiment that comes back from its record names every field.
        for layout, names in OWN_FIELDS.items() if self.layout else ():
            for name in names:
                if layout != self.layout and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is for layout {layout}, and the layout is {self.layout}; remove {name}")
        return self

    def own(self) -> dict[str, Any]:
        """What the layout's own fields say, as JSON."""
        return self.model_dump(mode="json", include=set(OWN_FIELDS.get(self.layout or "", ())))


class Preparation(Section):
    """What `visage prepare` reads: an experiment of which there is nothing but the data."""

    data: Data
