"""The routes: thin, typed for the documentation, and free of the framework's own parsing on the way of a picture."""

import asyncio
from importlib.metadata import version
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from serve_app.answers import Answers
from serve_app.form import read_form
from serve_app.model import Model
from serve_app.problems import MEDIA_TYPE, Problem
from visage.config.serving import Limits


class ModelReference(BaseModel):
    name: str
    version: int | None
    alias: str | None
    run_id: str


class ModelDescription(ModelReference):
    expressions: list[str]
    image_size: int
    loaded_at: str


class ExpressionResult(BaseModel):
    expression: str
    intensity: float
    image: str
    identity_similarity: float | None
    expression_confidence: float | None


class FacePlace(BaseModel):
    box: list[float]
    landmarks: list[list[float]]


class Expressions(BaseModel):
    results: list[ExpressionResult]
    face: FacePlace
    model: ModelReference


class ProblemDocument(BaseModel):
    type: str
    title: str
    status: int
    detail: str


class Held(Protocol):
    """What holds the model: `model` is None while there is none, and `fault` then says why."""

    model: Model | None
    fault: str


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
                        "description": "Names as in /v1/model; none means all.",
                    },
                    "intensity": {"type": "number", "minimum": 0, "maximum": 1.5, "default": 1},
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
                },
            },
            "encoding": {"expression": {"style": "form", "explode": True}},
        }
    },
}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {status: {"model": ProblemDocument, "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses}


def build_app(held: Held, answers: Answers, limits: Limits) -> FastAPI:
    """The HTTP application around a held model."""
    app = FastAPI(title="Visage", version=version("visage"), summary="Another expression on the same face.")

    def model_or_fault() -> Model:
        if held.model is None:
            raise Problem(503, held.fault, {"Retry-After": "5"})
        return held.model

    @app.get("/healthz", responses=_problems(503))
    async def healthz() -> Response:
        """200 when a model can answer, 503 before."""
        model_or_fault()
        return JSONResponse({"status": "ok"})

    @app.get("/v1/model", response_model=ModelDescription, responses=_problems(503))
    async def model() -> Response:
        """The model that answers, and the expressions it knows."""
        return JSONResponse(model_or_fault().description())

    @app.post(
        "/v1/expressions",
        response_model=Expressions,
        responses={200: {"content": {"image/png": {}}}, **_problems(400, 413, 415, 422, 503)},
        openapi_extra={"requestBody": FORM},
    )
    async def expressions(request: Request) -> Response:
        """The face of a picture with other expressions. One expression and `Accept: image/*`: the PNG itself."""
        try:
            async with asyncio.timeout(limits.seconds):
                form = await read_form(request, limits.megabytes)
                as_image = _wants_image(request.headers.get("accept", ""))
                return await answers.answer(form, model_or_fault(), as_image=as_image)
        except TimeoutError:
            detail = f"There was no answer within {limits.seconds:g} seconds; try again when there is less load."
            raise Problem(503, detail, {"Retry-After": "5"}) from None

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def http_fault(request: Request, error: HTTPException) -> Response:
        detail = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is."
        return Problem(error.status_code, detail, error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def validation_fault(request: Request, error: RequestValidationError) -> Response:
        return Problem(422, "A parameter of the request is wrong; /docs lists what there is.").response()

    @app.exception_handler(Exception)
    async def internal_fault(request: Request, error: Exception) -> Response:
        return Problem(500, "The server met a fault of its own; its log says which.").response()

    return app


def _wants_image(accept: str) -> bool:
    """Whether an Accept header names PNG or any picture."""
    kinds = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return bool(kinds & {"image/*", "image/png"})
