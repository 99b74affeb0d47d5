"""Requests to the endpoint and its answers, without input or output: what the sync and the async client share."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import Base64Bytes, BaseModel, ConfigDict

from visage.errors import UserError

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

API_KEY = "VISAGE_API_KEY"
BUSY = (429, 503)
T = TypeVar("T")
Picture = bytes | str | Path  # the file itself, or where it is


class ClientError(UserError):
    """A fault that the endpoint reports, or that it cannot be reached (`status` is None then).

    retry_after: the seconds to wait that the endpoint asked for. passing: whether the same request may succeed later.
    """

    def __init__(
        self, detail: str, status: int | None = None, *, retry_after: float | None = None, passing: bool = False
    ) -> None:
        super().__init__(detail)
        self.status, self.retry_after, self.passing = status, retry_after, passing


class Answered(BaseModel):
    """Of what the endpoint says, fields that this client does not know are left out."""

    model_config = ConfigDict(frozen=True)


class ModelReference(Answered):
    """The model that made an answer. version and alias are None for one that no registry gave."""

    name: str
    version: int | None
    alias: str | None
    run_id: str


class TransferModel(ModelReference):
    """A model of transfers. action_units: FACS numbers of those that it can be told."""

    action_units: tuple[int, ...] = ()


class ModelInfo(ModelReference):
    """The model that answers. loaded_at: UTC, ISO 8601. challenger: the one beside it, transfer: that of transfers, if
    there is one."""

    expressions: tuple[str, ...]
    image_size: int
    loaded_at: str
    challenger: ModelReference | None = None
    transfer: TransferModel | None = None


class Result(Answered):
    """One expression: the picture as PNG bytes, or the animation as WebP, and the self-check's values, None where it is
    switched off.

    identity_similarity: -1..1. expression_confidence: 0..1.
    """

    expression: str
    intensity: float
    image: Base64Bytes
    identity_similarity: float | None
    expression_confidence: float | None


class Answer(Answered):
    """Results in the order of the request; box (x0, y0, x1, y1) and landmarks (x, y) in the picture's pixels."""

    results: tuple[Result, ...]
    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    model: ModelReference


class Place(Answered):
    """Where a face is in its picture, in pixels: box (x0, y0, x1, y1), landmarks (x, y)."""

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]


class Transferred(Answered):
    """The face with one driver's expression, or with action units: PNG bytes, where that driver's face is, None of
    units, and the self-check's likeness (-1..1), None where it is switched off.

    read: by FACS number the intensities (0..1) that the model reads in the driver's face, or in the picture's own.
    """

    image: Base64Bytes
    identity_similarity: float | None
    driver: Place | None
    read: dict[int, float] = {}


class Transfers(Answered):
    """Results in the order of the drivers; face: where the one is that they show."""

    results: tuple[Transferred, ...]
    face: Place
    model: ModelReference


class Interval(Answered):
    """Challenger minus champion, with its 95 % interval."""

    value: float
    low: float
    high: float


class Difference(Answered):
    """Means of a self-check value over requests; None where there were none, or too few for a difference."""

    champion: float | None
    challenger: float | None
    champion_requests: int
    challenger_requests: int
    difference: Interval | None
    verdict: str


class Comparison(Answered):
    """What the self-check says of the challenger. shadow: over requests that both models ran, by the value's name.

    share: over requests that one of them answered. incomparable: why there is neither. skipped: requests for whose
    unseen run there was no time.
    """

    champion: ModelReference
    challenger: ModelReference
    incomparable: str | None = None
    shadow: dict[str, Difference] = {}
    share: dict[str, Difference] = {}
    skipped: int = 0


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what reads the JSON of its answer."""

    method: str
    path: str
    read: Callable[[Any], T]
    content: dict[str, Any] = field(default_factory=dict)


MODEL = Call("GET", "/v1/model", ModelInfo.model_validate)
COMPARISON = Call("GET", "/v1/comparison", Comparison.model_validate)
HEALTH = Call("GET", "/healthz", lambda _: True)


class Caller:
    """What both clients share: address, key, and how answers and faults are read. No input or output.

    url: as `visage serve` prints it. api_key: by default that of the environment variable VISAGE_API_KEY, if any.
    timeout: seconds for each step of one attempt. patience: an attempt that met 429, 503 or a connection that broke is
    repeated, after the time that Retry-After says or else a growing one, as long as the next begins within so many
    seconds of the first; 0 never repeats. Asking twice for an expression is safe, as nothing is kept of it.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 60.0, patience: float = 30.0) -> None:
        self._url = url.rstrip("/")
        key = api_key or os.environ.get(API_KEY)
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ClientError(f"api_key: has a space or a character that no key has; give it as {API_KEY} holds it.")
        self._options: dict[str, Any] = {"timeout": timeout}
        if key:
            self._options["headers"] = {"Authorization": f"Bearer {key}"}
        self._patience = patience

    def policy(self) -> dict[str, Any]:
        """What tenacity is to do, sync or async."""
        from tenacity import retry_if_exception, stop_before_delay

        return {
            "retry": retry_if_exception(lambda error: isinstance(error, ClientError) and error.passing),
            "wait": _wait,
            "stop": stop_before_delay(self._patience),
            "reraise": True,
        }

    def result(self, call: Call[T], answer: "httpx.Response") -> T:
        try:
            if answer.is_success:
                return call.read(answer.json())
        except (ValueError, KeyError, TypeError):
            raise ClientError(
                f"{self._url}: answers, but not as Visage's endpoint does; give the address that `visage serve` prints."
            ) from None
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"{self._url}{call.path}: answered {answer.status_code} {answer.reason_phrase}; try again later."
        status = answer.status_code
        raise ClientError(
            detail, status, retry_after=_seconds(answer.headers.get("retry-after")), passing=status in BUSY
        )

    def unreachable(self, error: Exception) -> ClientError:
        import httpx

        broke = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)
        if broke or isinstance(error, httpx.TimeoutException):
            what = "the connection broke" if broke else f"no answer within {self._options['timeout']:g} seconds"
            return ClientError(f"{self._url}: {what}; see whether the endpoint is overloaded.", passing=broke)
        return ClientError(f"{self._url}: cannot be reached ({error}); start it with `visage serve`.")


def edit_call(
    content: bytes, expressions: Sequence[str], intensity: float | Sequence[float], view: str, aligned: bool,
    format: str, version: str | int | None,
) -> Call[Answer]:  # fmt: skip
    """What `Client.expressions` asks for."""
    fields = {
        "expression": list(expressions),
        "intensity": [str(each) for each in ((intensity,) if isinstance(intensity, int | float) else intensity)],
        "view": view,
        "aligned": "true" if aligned else "false",
        "format": format,
    }
    if version is not None:
        fields["version"] = str(version)
    request = {"data": fields, "files": {"image": ("image", content)}}
    return Call("POST", "/v1/expressions", _answer, request)


def transfer_call(
    content: bytes, drivers: Sequence[bytes], au: Mapping[int, float] | None, view: str, aligned: bool
) -> Call[Transfers]:
    """What `Client.transfer` asks for."""
    files = [("image", ("image", content)), *(("driver", ("driver", driver)) for driver in drivers)]
    fields = {"view": view, "aligned": "true" if aligned else "false"}
    if au is not None:
        fields["au"] = json.dumps(au)
    return Call("POST", "/v1/transfer", Transfers.model_validate, {"data": fields, "files": files})


def _answer(body: Any) -> Answer:
    return Answer(results=body["results"], **body["face"], model=body["model"])


def content_of(picture: Picture) -> bytes:
    """The file of a picture. Raises ClientError for one that cannot be read."""
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise ClientError(f"{picture}: cannot be read ({error.strerror}); give a readable picture.") from None


def _wait(state: "RetryCallState") -> float:
    """Seconds until the next attempt: what the endpoint asked for, and a little that differs from client to client."""
    from tenacity import wait_random, wait_random_exponential

    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, ClientError) and error.retry_after is not None:
        return error.retry_after + wait_random(0, 0.25)(state)
    return wait_random_exponential(multiplier=0.5, max=10)(state)


def _seconds(retry_after: str | None) -> float | None:
    """A Retry-After header, which is a number of seconds or a date, as seconds from now."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, ((date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
