"""What /openapi.json and /docs say of the routes, with examples; the page needs no address outside the server."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse

from serve_app.problems import MEDIA_TYPE

ASSETS = "/docs/assets"


class ModelReference(BaseModel):
    name: str = Field(examples=["visage-ucgan"])
    version: int | None = Field(description="null for a folder that no registry gave", examples=[3])
    alias: str | None = Field(examples=["champion"])
    run_id: str = Field(description="the training run in MLflow", examples=["0f5b6c1d2e3f40718293a4b5c6d7e8f9"])


class RefusedVersion(BaseModel):
    """A version that the alias names and that is not served, as it failed its checks."""

    version: int | None = Field(examples=[4])
    reason: str


class LoadedModel(ModelReference):
    expressions: list[str] = Field(examples=[["neutral", "happy", "sad"]])
    image_size: int = Field(description="side of the aligned face in pixels", examples=[128])
    loaded_at: str = Field(examples=["2026-01-31T09:30:00+00:00"])
    action_units: list[int] | None = Field(
        None, description="of a model of transfers: those that `au` may name; empty where it takes drivers alone"
    )
    refused: RefusedVersion | None = Field(None, description="there only while a version is refused")


class ModelDescription(LoadedModel):
    challenger: LoadedModel | None = Field(None, description="where one is configured; null while there is none")
    transfer: LoadedModel | None = Field(None, description="of /v1/transfer; as challenger")


class Interval(BaseModel):
    """challenger minus champion, with its 95 % interval."""

    value: float = Field(examples=[0.021])
    low: float = Field(examples=[0.009])
    high: float = Field(examples=[0.034])


class Difference(BaseModel):
    """Means over requests. They are the same requests in shadow mode, and others where each model has its share."""

    champion: float | None = Field(examples=[0.912])
    challenger: float | None = Field(examples=[0.933])
    champion_requests: int = Field(examples=[240])
    challenger_requests: int = Field(examples=[240])
    difference: Interval | None = Field(description="null where it would rest on too few requests")
    verdict: str = Field(examples=["higher", "lower", "no difference shown", "too few requests"])


class Differences(BaseModel):
    identity_similarity: Difference
    expression_confidence: Difference


class Comparison(BaseModel):
    champion: ModelReference
    challenger: ModelReference
    incomparable: str | None = Field(None, description="why the models' values mean different things, if they do")
    shadow: Differences | None = Field(None, description="over requests that both models ran")
    share: Differences | None = Field(None, description="over requests that each model answered")
    skipped: int | None = Field(None, description="requests for whose unseen run there was no time")


class ExpressionResult(BaseModel):
    expression: str = Field(examples=["happy"])
    intensity: float = Field(examples=[1.0])
    image: str = Field(description="base64 of the PNG or WebP file", examples=["iVBORw0KGgo="])
    identity_similarity: float | None = Field(description="-1 to 1; null when not computed", examples=[0.93])
    expression_confidence: float | None = Field(description="0 to 1; null when not computed", examples=[0.88])


class FacePlace(BaseModel):
    box: list[float] = Field(
        description="x0, y0, x1, y1 in the picture's pixels", examples=[[211.0, 140.5, 402.0, 391.0]]
    )
    landmarks: list[list[float]] = Field(
        description="x, y of eyes, nose and mouth's corners", examples=[[[260.1, 233.0], [351.7, 235.2]]]
    )


class Expressions(BaseModel):
    results: list[ExpressionResult]
    face: FacePlace
    model: ModelReference


class TransferResult(BaseModel):
    image: str = Field(description="base64 of the PNG file", examples=["iVBORw0KGgo="])
    identity_similarity: float | None = Field(description="-1 to 1; null when not computed", examples=[0.93])
    driver: FacePlace | None = Field(description="where the face is whose expression it has; null of action units")
    read: dict[str, float] = Field(
        description="the action units, 0 to 1, that the model reads in the driver's face, or in the picture's own",
        examples=[{"1": 0.02, "12": 0.91}],
    )


class Transfers(BaseModel):
    """In the order of the drivers, or the one with the action units."""

    results: list[TransferResult]
    face: FacePlace
    model: ModelReference


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


FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {
                        "type": "string",
                        "format": "binary",
                        "description": "A picture with one face: JPEG, PNG, WebP, TIFF, BMP.",
                    },
                    "expression": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Names as in /v1/model; none means all. At most 64 faces in one request.",
                    },
                    "intensity": {
                        "type": "array",
                        "items": {"type": "number", "minimum": 0, "maximum": 1.5},
                        "description": "0 to 1.5; several give each expression at each of them; none means 1.",
                    },
                    "format": {
                        "type": "string",
                        "enum": ["png", "webp"],
                        "default": "png",
                        "description": "webp: an animation from neutral to one expression at one intensity.",
                    },
                    "view": {
                        "type": "string",
                        "enum": ["face", "photo"],
                        "default": "face",
                        "description": "The aligned face alone, or the whole photograph with the new face in it.",
                    },
                    "aligned": {
                        "type": "boolean",
                        "default": False,
                        "description": "The picture is an aligned face already.",
                    },
                    "version": {
                        "type": "string",
                        "description": "champion, challenger or a number; none leaves it to the endpoint.",
                    },
                },
            },
            "encoding": {name: {"style": "form", "explode": True} for name in ("expression", "intensity")},
            "examples": {
                "one": {
                    "summary": "A smile in the whole photograph",
                    "value": {"image": "photo.jpg", "expression": ["happy"], "view": "photo"},
                },
                "grid": {
                    "summary": "Two expressions at three intensities, in one pass",
                    "value": {"image": "photo.jpg", "expression": ["happy", "sad"], "intensity": [0.3, 0.6, 1]},
                },
                "animation": {
                    "summary": "From neutral to a smile",
                    "value": {"image": "photo.jpg", "expression": ["happy"], "format": "webp"},
                },
            },
        }
    },
}

_FIELDS: dict[str, Any] = FORM["content"]["multipart/form-data"]["schema"]["properties"]  # type: ignore[index]
TRANSFER_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": _FIELDS["image"],
                    "driver": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "minItems": 1,
                        "description": "Pictures with one face each, whose expressions the first one gets in one pass.",
                    },
                    "au": {
                        "type": "object",
                        "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1},
                        "description": "In place of drivers: action units by FACS number, those that `action_units` of "
                        "/v1/model lists. What is not named stays as the model reads it in the picture.",
                        "example": {"6": 0.5, "12": 0.8},
                    },
                    "view": _FIELDS["view"],
                    "aligned": {
                        "type": "boolean",
                        "default": False,
                        "description": "The pictures are aligned faces already.",
                    },
                },
            },
            "encoding": {"driver": {"style": "form", "explode": True}, "au": {"contentType": "application/json"}},
        }
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {status: {"model": ProblemDocument, "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


PNG = {"schema": {"type": "string", "format": "binary"}}
PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": dict.fromkeys(("image/png", "image/webp"), PNG)}}


def add_docs(app: FastAPI) -> None:
    """Swagger's page at /docs with its script and style from the package fastapi-offline, not from a CDN."""
    import fastapi_offline

    files = StaticFiles(directory=Path(fastapi_offline.__file__).parent / "static")
    app.mount(ASSETS, files, name="docs-assets")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="Visage",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )
