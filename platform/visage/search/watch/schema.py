"""What the page of a study is told, as data: the routes return it, the page and whoever else reads it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from visage.search.study.summary import Line

Value = bool | int | float | str


class Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Setting(Document):
    """A searched setting. importance: its share of the differences in score, in [0, 1]; None before it is known."""

    path: str
    searched: str = Field(description="the range or the choices, in words")
    leader: Value | None
    second: Value | None
    importance: float | None


class Trial(Line):
    """A trial of the page's table. rank: of the complete trials that meet all constraints, the best is 1."""

    rank: int | None
    front: bool = Field(description="on the Pareto front")
    repeat: str = Field(description="the command that trains it again; empty without a run in MLflow")


class Study(Document):
    """A study as it stands. trials: by rank, then by number. rungs: images at which a trial may be stopped."""

    name: str
    summary: str
    runs: bool = Field(description="whether a process works at it")
    planned: int
    counts: dict[str, int]
    objectives: dict[str, str]
    constraints: list[str]
    settings: list[Setting]
    fixed: dict[str, str] = Field(description="the settings that are the same in all trials, by path")
    trials: list[Trial]
    why: list[str]
    spending: str
    stopped: bool
    outcome: str
    checkpoints: str
    look: str = Field(description="the command that shows it in a terminal")
    images: int = Field(description="of a whole trial")
    rungs: list[int]
    seed: int


class Curves(Document):
    """Curves that changed since a revision. curves: [images, score] by trial. left: trials that are not read yet."""

    revision: int
    curves: dict[int, list[tuple[int, float]]]
    left: int


class Fault(Document):
    """What is away, in one sentence."""

    fault: str


class Names(Document):
    """The studies of a database."""

    names: list[str]


class Pictures(Document):
    """The images at which each of some trials has a picture of faces, in order."""

    pictures: dict[int, list[int]]


class Seeds(Document):
    """What another seed moves. reach: half the 95 % interval of a difference of two trainings; None: not known."""

    said: str
    command: str = Field(description="the command that trains the leader with another seed; empty without one")
    reach: float | None


class Station(Document):
    """A station on the way from faces to answers. link: its page; empty without one."""

    what: str
    name: str
    detail: str
    link: str


class Lineage(Document):
    stations: list[Station]


class Pair(Document):
    """Two faces to choose from. key: of the pair, until it is chosen from. driver: whether a face said the expression.
    choices: kept so far."""

    key: str
    asked: str
    driver: bool
    choices: int


class Chosen(Document):
    """A choice. who: as whoever chose calls themselves."""

    key: str = Field(max_length=40)
    better: Literal["left", "right", "same"]
    person: Literal["left", "right", "both", "neither"]
    who: str = Field("", max_length=60)


class Kept(Document):
    """How many choices are kept."""

    choices: int
