"""card.json: what a bundle says of itself."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from visage.config.data import EachOnce
from visage.errors import UserError, one_line
from visage.judging.results import Evaluation

FORMAT: Literal[1] = 1
CARD = "card.json"
GENERATOR = "generator.safetensors"
CHECK = "check.safetensors"
FACES = "faces.png"
RESULTS = "results.csv"
MODEL_CARD = "MODEL_CARD.md"
GOLDEN = "golden.safetensors"
FILES = (GENERATOR, CHECK, FACES, RESULTS, GOLDEN, MODEL_CARD)
SAMPLES = "samples.safetensors"  # faces for the page, of models that learnt photographs of enough people
MEND = "fetch or register the model again"
NATURAL = "natural.safetensors"  # this generator's part of the self-check, where it tells enough

Sha256 = Field(pattern="^[0-9a-f]{64}$")


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(Part):
    """A figure with its 95 % interval; None where nothing could be measured."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @field_validator("value", "low", "high", mode="before")
    @classmethod
    def _measured(cls, figure: Any) -> Any:
        # JSON has no name for "not a number".
        return None if isinstance(figure, float) and not math.isfinite(figure) else figure


class FaceData(Part):
    """The face set that trained and judged the model. judges: sha256 of the judges that are stored with it."""

    name: str
    layout: str
    sha256: str = Sha256
    licence: str = ""
    people: dict[str, int] = Field(default_factory=dict, description="people of each part")
    judges: str = Sha256

    def judged_as(self, other: "FaceData") -> bool:
        """Whether figures of both mean the same: of the same faces, by the same judges."""
        return (self.sha256, self.judges) == (other.sha256, other.judges)


class Architecture(Part):
    """What builds each network: the generator, and the self-check's identity encoder and expression classifier."""

    generator: dict[str, Any]
    encoder: dict[str, Any]
    check: dict[str, Any]


class Eyes(Part):
    """What people chose, blind, between faces of a study's trials. trial: the one whose setting the model has.
    preference: the probability (0..1) that its faces are found better than those of a middling trial; None where nobody
    was shown them. said: the same in sentences, with what contradicts the judges."""

    choices: int
    people: int
    trial: int
    preference: float | None
    said: tuple[str, ...]


class Card(Part):
    """metrics: of the test people, by metric name. created: UTC, ISO 8601. sha256: of generator.safetensors.

    evaluation: the whole of it but the single faces, which are in results.csv: see `judging.results.Evaluation`.
    versions: of what made the model. eyes: None, and not written, where nobody had chosen when the card was made.
    self_check: quantiles of the self-check's values on the test people at registration. files: sha256 of each file.
    """

    format: Literal[1] = FORMAT
    method: str = Field(pattern="^[a-z0-9_-]+$")
    image_size: int
    expressions: Annotated[tuple[str, ...], Field(min_length=1), EachOnce]
    architecture: Architecture
    config: dict[str, Any]
    metrics: dict[str, Estimate]
    evaluation: dict[str, Any]
    data: FaceData
    run_id: str
    created: str
    versions: dict[str, str]
    sha256: str = Sha256
    files: dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$")], str]
    self_check: dict[str, dict[str, float]]
    eyes: Eyes | None = Field(None, exclude_if=lambda eyes: eyes is None)  # an older Visage reads a card without

    @field_validator("evaluation")
    @classmethod
    def _readable(cls, evaluation: dict[str, Any]) -> dict[str, Any]:
        if "model" not in Evaluation.from_dict(evaluation).rows:
            raise ValueError("has no row of the model")
        return evaluation

    @model_validator(mode="after")
    def _fits_generator(self) -> "Card":
        generator = self.architecture.generator
        if generator.get("size") != self.image_size:
            raise ValueError(f"image_size {self.image_size} is not the generator's size {generator.get('size')}")
        if "conditions" in generator and generator["conditions"] != len(self.expressions):
            raise ValueError(
                f"{len(self.expressions)} expressions are not the generator's {generator.get('conditions')} conditions"
            )
        if not set(FILES) <= set(self.files) or self.files[GENERATOR] != self.sha256:
            raise ValueError(f"files does not give the sha256 of {', '.join(FILES)}")
        return self

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), indent=1) + "\n"


def read_card(folder: Path) -> Card:
    """The card in a bundle's folder. Raises UserError when it is missing, damaged or of another format."""
    path = folder / CARD
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no readable card ({one_line(error)}); {MEND}.") from None
    if not isinstance(tree, dict) or "format" not in tree:
        raise UserError(f"{path}: is not the card of a Visage bundle; give a folder that `visage train` has written.")
    if tree["format"] != FORMAT:
        raise UserError(f"{path}: format {tree['format']!r} is unknown; this Visage reads {FORMAT}, so update Visage.")
    try:
        return Card.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the card"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {key}: {message[0].lower()}{message[1:]}; {MEND}.") from None
