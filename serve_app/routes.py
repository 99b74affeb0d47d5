"""The routes: thin, typed for the documentation, and free of the framework's own parsing on the way of a picture."""

from collections.abc import Callable, Sequence
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from serve_app.admission import Gate
from serve_app.batches.desk import Desk
from serve_app.batches.routes import add_batches
from serve_app.bodies import in_time
from serve_app.callers import Callers
from serve_app.challenger.contest import Choice, Contest, Held
from serve_app.health import Health
from serve_app.inference import Answers
from serve_app.loaded_model import Model
from serve_app.middleware import ANYBODY, CALLER, GONE, Around, surround
from serve_app.openapi import FORM, PICTURES, PNG, TRANSFER_FORM, problems
from serve_app.pages import add_page
from serve_app.problems import Problem
from serve_app.request_form import FIELDS, TRANSFER_FIELDS, read_form
from serve_app.webhook import Webhook, add_webhook
from visage.api.schema import Comparison, Expressions, ModelDescription, Schema, Transfers
from visage.config.serving import Limits
from visage.infra import traces
from visage.methods import answering, usual_model
from visage.methods.requests import DRIVER


def build_app(
    held: Held,
    answers: Answers,
    limits: Limits,
    contest: Contest | None = None,
    around: Around | None = None,
    transfers: Held | None = None,
    health: Health | None = None,
    desk: Desk | None = None,
    webhook: Webhook | None = None,
) -> FastAPI:
    """The HTTP application around a held model, and its challenger if there is a contest, and the model of `transfers`.
    health: of the networks, for /healthz. desk: of batches; None takes none. webhook: None has no such route.

    Without `around` it asks nobody for a key and measures nothing.
    """
    contest = contest or Contest(held)
    app = FastAPIOffline(  # whose page needs no address outside the server
        title="Visage",
        version=version("visage"),
        summary="Another expression on the same face.",
        redoc_url=None,
        static_url="/docs/assets",
    )
    gate, callers = Gate(limits), Callers()

    def carrier() -> Model:
        """The model of transfers. Raises Problem 404 where none is configured, 503 while there is none."""
        if transfers is None:
            usual = usual_model(DRIVER)
            method = usual.removeprefix("visage-").partition("@")[0]
            raise Problem(404, f"method = {method!r}: is not served; set the endpoint's transfer to {usual}.")
        if transfers.model is None:
            raise Problem(503, transfers.fault, {"Retry-After": "5"})
        return transfers.model

    async def admitted(request: Request, fields: Sequence[str], choose: Callable[[str | None], Choice]) -> Response:
        """The answer to a form of these fields. choose: the model, by the version that the form asks for."""
        caller = request.scope.get(CALLER)
        with gate.body(None if caller == ANYBODY else caller) as arrived:
            async with in_time("form", limits.upload_seconds):
                with traces.span("form"):
                    form = await read_form(request, limits.megabytes, fields, arrived)
            as_image = _wants_image(request.headers.get("accept", ""), form.format)
            choice = choose(form.version)
            try:
                with gate.place():
                    async with callers.wait(request, limits.seconds):
                        return await answers.answer(form, choice.model, as_image=as_image, seen=choice.seen)
            except TimeoutError:
                detail = f"There was no answer within {limits.seconds:g} seconds; try again when there is less load."
                raise Problem(503, detail, {"Retry-After": "5"}) from None

    @app.get("/healthz", responses=problems(503))
    async def healthz() -> Response:
        """200 when a model can answer, 503 before, and when its networks fail."""
        contest.champion()
        if health and health.fault:
            raise Problem(503, health.fault, {"Retry-After": "5"})
        return JSONResponse({"status": "ok"})

    @app.get("/v1/model", response_model=ModelDescription, responses=problems(404, 503))
    async def model(method: str | None = None) -> Response:
        """The model that answers, and the expressions it knows. `method` asks for one method's model, by its name."""
        if method in answering(DRIVER):
            return _json(carrier().description())
        found = contest.champion()
        if method is not None and method != found.facts.name.removeprefix("visage-"):
            raise Problem(404, f"method = {method[:40]!r}: is not served; {found.facts.name} is.")
        return _json(contest.description(transfers))

    @app.get("/v1/comparison", response_model=Comparison, responses=problems(404, 503))
    async def comparison() -> Response:
        """What the self-check says of the challenger against the champion, over all replicas."""
        return _json(await contest.comparison())

    @app.post(
        "/v1/expressions",
        response_model=Expressions,
        responses={**PICTURES, **problems(400, 408, 413, 415, 422, 429, 503)},
        openapi_extra={"requestBody": FORM},
    )
    async def expressions(request: Request) -> Response:
        """The face of a picture with other expressions. One face and `Accept: image/*`: the picture itself."""
        return await admitted(request, FIELDS, contest.choose)

    @app.post(
        "/v1/transfer",
        response_model=Transfers,
        responses={200: {"content": {"image/png": PNG}}, **problems(400, 404, 408, 413, 415, 422, 429, 503)},
        openapi_extra={"requestBody": TRANSFER_FORM},
    )
    async def transfer(request: Request) -> Response:
        """A picture's face with the expression of another, or with action units. One face and `Accept: image/*`: the
        picture itself."""
        return await admitted(request, TRANSFER_FIELDS, lambda _: Choice(carrier()))

    add_batches(app, desk, lambda: contest.champion().editor.expressions)
    if webhook:
        add_webhook(app, webhook, limits.upload_seconds)
    add_page(app, lambda: [model for each in (held, transfers) if each and (model := each.model)])

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=GONE)  # for the log, as nobody is there to read it

    @app.exception_handler(HTTPException)
    async def http_fault(request: Request, error: HTTPException) -> Response:
        detail = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is."
        return Problem(error.status_code, detail, error.headers).response()

    @app.exception_handler(RequestValidationError)
    async def validation_fault(request: Request, error: RequestValidationError) -> Response:
        return Problem(422, "A parameter of the request is wrong; /docs lists what there is.").response()

    surround(app, around or Around())
    return app


def _json(answer: Schema) -> Response:
    """What is not said of a model is left out."""
    return Response(answer.model_dump_json(exclude_unset=True), media_type="application/json")


def _wants_image(accept: str, kind: str) -> bool:
    """Whether an Accept header names this kind of picture, or any."""
    kinds = {part.split(";")[0].strip().lower() for part in accept.split(",")}
    return bool(kinds & {"image/*", f"image/{kind}"})
