"""The routes of batches: photographs that are sent by the hundred and answered when there is time."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from starlette.responses import Response

from serve_app.batches.archive import ANSWERS
from serve_app.batches.desk import ADDRESSES, ZIP, Desk
from serve_app.middleware import ANYBODY, CALLER
from serve_app.openapi import problems
from serve_app.problems import Problem
from visage.api.schema import Batch

PATH = "/v1/batches"
BODY: dict[str, Any] = {
    "required": True,
    "content": {
        ZIP: {
            "schema": {"type": "string", "format": "binary", "description": "A ZIP of photographs, one face in each."}
        },
        ADDRESSES: {
            "schema": {
                "type": "object",
                "required": ["addresses"],
                "properties": {"addresses": {"type": "array", "items": {"type": "string"}, "minItems": 1}},
                "description": "Photographs in the key's folder of the bucket, where the endpoint has one.",
                "example": {"addresses": ["s3://BUCKET/FOLDER/KEY/beach.jpg"]},
            }
        },
    },
}
KEY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Sent again with the same key and the same request, it is the same batch; another request is 422.",
}
ZIPPED: dict[int | str, dict[str, Any]] = {200: {"content": {ZIP: {"schema": {"type": "string", "format": "binary"}}}}}


def add_batches(app: FastAPI, desk: Desk | None, expressions: Callable[[], tuple[str, ...]]) -> None:
    """desk: None where no batches are configured. expressions: of the model; raises Problem 503 while there is none."""

    def taking() -> Desk:
        if desk is None:
            raise Problem(404, "No batches are taken here; the endpoint's setting batches.dir would.")
        return desk

    @app.post(
        PATH,
        status_code=202,
        response_model=Batch,
        responses=problems(400, 404, 408, 413, 415, 422, 429, 503, 507),
        openapi_extra={"requestBody": BODY, "parameters": [KEY]},
    )
    async def take(
        request: Request,
        expression: Annotated[str, Query(description="A name as in /v1/model.")] = "",
        intensity: Annotated[str, Query(description="0 to 1.5.")] = "1",
        view: Annotated[str, Query(description="face: the aligned face alone; photo: the whole photograph.")] = "face",
        answers: Annotated[str, Query(description="zip, or bucket where the endpoint has one.")] = "zip",
    ) -> Response:
        """Photographs that are edited one after the other, beside the requests of others. `Location` says where to ask
        how far they are."""
        asked = {"expression": expression, "intensity": intensity, "view": view, ANSWERS: answers}
        batch = await taking().take(request, _caller(request), asked, expressions())
        return _shown(batch, 202, {"Location": f"{PATH}/{batch.id}"})

    @app.get(PATH + "/{id}", response_model=Batch, responses=problems(404, 503))
    async def show(request: Request, id: str) -> Response:
        """How far a batch is, and what is wrong with single photographs."""
        batch = await taking().show(_caller(request), id)
        return _shown(batch, 200, {} if batch.state == "done" else {"Retry-After": "2"})

    @app.get(PATH + "/{id}/result", response_class=Response, responses={**ZIPPED, **problems(404, 409, 503)})
    async def result(request: Request, id: str) -> Response:
        """The ZIP with the pictures of a batch that is done, by their photographs' names."""
        return await taking().result(_caller(request), id)

    @app.delete(PATH + "/{id}", status_code=204, responses=problems(404, 503))
    async def remove(request: Request, id: str) -> Response:
        """Forget a batch, its photographs and its answers in a ZIP; what is not done yet is not done."""
        await taking().remove(_caller(request), id)
        return Response(status_code=204)


def _caller(request: Request) -> str:
    return str(request.scope.get(CALLER, ANYBODY))


def _shown(batch: Batch, status: Literal[200, 202], headers: dict[str, str]) -> Response:
    return Response(batch.model_dump_json(), status, headers, "application/json")
