"""What the endpoint answers, as data: the routes return it, /openapi.json shows it, the clients read it."""

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from typing_extensions import TypedDict


def _decoded(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


# A file; in JSON its base64.
File = Annotated[
    bytes,
    BeforeValidator(_decoded),
    PlainSerializer(lambda content: base64.b64encode(content).decode("ascii"), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]


class Schema(BaseModel):
    # Fields that a newer endpoint adds are left out.
    model_config = ConfigDict(frozen=True)


class ModelReference(Schema):
    name: str = Field(examples=["visage-METHOD"])
    version: int | None = Field(description="null for a folder that no registry gave", examples=[3])
    alias: str | None = Field(examples=["champion"])
    run_id: str = Field(description="the training run in MLflow", examples=["0f5b6c1d2e3f40718293a4b5c6d7e8f9"])


class RefusedVersion(Schema):
    """A version that the alias names and that is not served, as it failed its checks."""

    version: int | None = Field(examples=[4])
    reason: str


class LoadedModel(ModelReference):
    expressions: tuple[str, ...] = Field(examples=[["neutral", "happy", "sad"]])
    image_size: int = Field(description="side of the aligned face in pixels", examples=[128])
    loaded_at: str = Field(examples=["2026-01-31T09:30:00+00:00"])
    action_units: tuple[int, ...] | None = Field(
        None, description="of a model of transfers: those that `au` may name; empty where it takes drivers alone"
    )
    samples: Literal["averages"] | None = Field(
        None, description="of a model whose sample faces on the page are averages of training people's; else drawn"
    )
    refused: RefusedVersion | None = Field(None, description="there only while a version is refused")


class ModelDescription(LoadedModel):
    challenger: LoadedModel | None = Field(None, description="where one is configured; null while there is none")
    transfer: LoadedModel | None = Field(None, description="of /v1/transfer; as challenger")


class Interval(Schema):
    """challenger minus champion, with its 95 % interval."""

    value: float = Field(examples=[0.021])
    low: float = Field(examples=[0.009])
    high: float = Field(examples=[0.034])


class Difference(Schema):
    """Means over requests. They are the same requests in shadow mode, and others where each model has its share."""

    champion: float | None = Field(examples=[0.912])
    challenger: float | None = Field(examples=[0.933])
    champion_requests: int = Field(examples=[240])
    challenger_requests: int = Field(examples=[240])
    difference: Interval | None = Field(description="null where it would rest on too few requests")
    verdict: str = Field(examples=["higher", "lower", "no difference shown", "too few requests"])


class Differences(TypedDict):
    identity_similarity: Difference
    expression_confidence: Difference


class Comparison(Schema):
    champion: ModelReference
    challenger: ModelReference
    incomparable: str | None = Field(None, description="why the models' values mean different things, if they do")
    shadow: Differences | None = Field(None, description="over requests that both models ran")
    share: Differences | None = Field(None, description="over requests that each model answered")
    skipped: int | None = Field(None, description="requests for whose unseen run there was no time")


NATURAL = (
    "0 to 1, by a check that was fitted to this model: below 0.5 mouth or chin look damaged, as in fewer than one in "
    "twenty of its faces; null when not computed, and of a model that carries no such check"
)


class ExpressionResult(Schema):
    expression: str = Field(examples=["happy"])
    intensity: float = Field(examples=[1.0])
    image: File = Field(description="base64 of the PNG or WebP file", examples=["iVBORw0KGgo="])
    identity_similarity: float | None = Field(description="-1 to 1; null when not computed", examples=[0.93])
    expression_confidence: float | None = Field(description="0 to 1; null when not computed", examples=[0.88])
    natural: float | None = Field(None, description=NATURAL, examples=[0.83])
    mix: dict[str, float] | None = Field(
        None, description="of a mixture: how much of each expression; the fields above name the one of which most is"
    )


class FacePlace(Schema):
    box: tuple[float, ...] = Field(
        description="x0, y0, x1, y1 in the picture's pixels", examples=[[211.0, 140.5, 402.0, 391.0]]
    )
    landmarks: tuple[tuple[float, ...], ...] = Field(
        description="x, y of eyes, nose and mouth's corners", examples=[[[260.1, 233.0], [351.7, 235.2]]]
    )


class Expressions(Schema):
    results: tuple[ExpressionResult, ...]
    face: FacePlace
    model: ModelReference

    @property
    def box(self) -> tuple[float, ...]:
        """x0, y0, x1, y1 of the face in the picture's pixels."""
        return self.face.box

    @property
    def landmarks(self) -> tuple[tuple[float, ...], ...]:
        """x, y of eyes, nose and mouth's corners in the picture's pixels."""
        return self.face.landmarks


class TransferResult(Schema):
    image: File = Field(description="base64 of the PNG file", examples=["iVBORw0KGgo="])
    identity_similarity: float | None = Field(description="-1 to 1; null when not computed", examples=[0.93])
    natural: float | None = Field(None, description=NATURAL, examples=[0.83])
    driver: FacePlace | None = Field(description="where the face is whose expression it has; null of action units")
    read: dict[int, float] = Field(
        description="the action units, 0 to 1, that the model reads in the driver's face, or in the picture's own",
        examples=[{"1": 0.02, "12": 0.91}],
    )


class Transfers(Schema):
    """In the order of the drivers, or the one with the action units."""

    results: tuple[TransferResult, ...]
    face: FacePlace
    model: ModelReference


class BatchFault(Schema):
    photograph: str = Field(examples=["holidays/beach.jpg"])
    fault: str = Field(examples=["no face was found; give a picture with one clear frontal face."])


class Batch(Schema):
    """Photographs that were sent together, and how far they are."""

    id: str = Field(examples=["0f5b6c1d2e3f40718293a4b5c6d7e8f9"])
    state: str = Field(examples=["waiting", "running", "done"])
    created: str = Field(examples=["2026-01-31T09:30:00+00:00"])
    expires: str = Field(description="when it is forgotten with its answers", examples=["2026-02-07T09:30:00+00:00"])
    expression: str = Field(examples=["happy"])
    intensity: float = Field(examples=[1.0])
    view: str = Field(examples=["face", "photo"])
    photographs: int = Field(examples=[240])
    passed_over: int = Field(description="files of the ZIP that are hidden or no pictures", examples=[1])
    done: int = Field(description="photographs whose pictures are there", examples=[96])
    failed: int = Field(examples=[1])
    faults: tuple[BatchFault, ...] = Field(description="a sentence for each that failed")
    model: ModelReference | None = Field(description="of all its pictures; null before the first of them")
    answers: str = Field(description="the path of the ZIP with the pictures, or their folder in the bucket")


class ProblemDocument(BaseModel):
    """RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "image: no face was found; give a picture with one face.",
            }
        }
    )
    type: str
    title: str
    status: int
    detail: str
    faces: list[FacePlace] | None = Field(
        None, description="there where several faces were found and none was named: from left to right"
    )
