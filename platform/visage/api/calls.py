"""Requests to the endpoint and its answers, without input or output: what the sync and the async client share."""

import json
import os
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from visage.api.schema import Batch, Comparison, Expressions, FacePlace, ModelDescription, Transfers
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
    faces: of a picture with several, where they are, from left to right.
    """

    def __init__(
        self, detail: str, status: int | None = None, *, retry_after: float | None = None, passing: bool = False,
        faces: Sequence[FacePlace] = (),
    ) -> None:  # fmt: skip
        super().__init__(detail)
        self.status, self.retry_after, self.passing, self.faces = status, retry_after, passing, tuple(faces)


@dataclass(frozen=True)
class KeyRate:
    """What an answer says of the key's limit: `left` of `quota` requests may be sent now; in `whole` seconds it is all
    of them again, which takes `window` seconds where none is left."""

    quota: int
    window: int
    left: int
    whole: int


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what reads the JSON of its answer."""

    method: str
    path: str
    read: Callable[[Any], T]
    content: dict[str, Any] = field(default_factory=dict)


MODEL = Call("GET", "/v1/model", ModelDescription.model_validate)
COMPARISON = Call("GET", "/v1/comparison", Comparison.model_validate)
HEALTH = Call("GET", "/healthz", lambda _: True)


class Caller:
    """What both clients share: address, key, and how answers and faults are read. No input or output.

    url: as `visage serve` prints it. api_key: by default that of the environment variable VISAGE_API_KEY, if any.
    timeout: seconds for each step of one attempt. patience: an attempt that met 429, 503 or a connection that broke is
    repeated, after the time that Retry-After says or else a growing one, as long as the next begins within so many
    seconds of the first; 0 never repeats. Asking twice for an expression is safe, as nothing is kept of it.

    rate: what the last answer said of the key's limit; None where it has none.
    """

    rate: KeyRate | None = None

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
        self.rate = _rate(answer.headers)
        try:
            if answer.is_success:
                return call.read(answer.json() if answer.status_code != 204 else None)
        except (ValueError, KeyError, TypeError):
            raise ClientError(
                f"{self._url}: answers, but not as Visage's endpoint does; give the address that `visage serve` prints."
            ) from None
        faces: Sequence[FacePlace] = ()
        try:
            problem = answer.json()
            detail = str(problem["detail"])
            faces = [FacePlace.model_validate(each) for each in problem.get("faces") or ()]
        except (ValueError, KeyError, TypeError):
            detail = f"{self._url}{call.path}: answered {answer.status_code} {answer.reason_phrase}; try again later."
        status, later = answer.status_code, _seconds(answer.headers.get("retry-after"))
        raise ClientError(detail, status, retry_after=later, passing=status in BUSY, faces=faces)

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turns what httpx raises into the one sentence."""
        import httpx

        try:
            yield
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
            broke = f"{self._url}: the connection broke; see whether the endpoint is overloaded."
            raise ClientError(broke, passing=True) from None
        except httpx.TimeoutException:
            late = f"{self._url}: no answer within {self._options['timeout']:g} seconds"
            raise ClientError(f"{late}; see whether the endpoint is overloaded.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClientError(f"{self._url}: cannot be reached ({error}); start it with `visage serve`.") from None


def edit_call(
    content: bytes, expressions: Sequence[str], intensity: float | Sequence[float], view: str, aligned: bool,
    format: str, version: str | int | None, face: int | None, mix: Mapping[str, float] | None,
) -> Call[Expressions]:  # fmt: skip
    """What `Client.expressions` asks for."""
    fields: dict[str, Any] = {"view": view, "aligned": aligned, "format": format}
    if mix is None:
        intensities = (intensity,) if isinstance(intensity, int | float) else intensity
        fields |= {"expression": list(expressions), "intensity": list(map(str, intensities))}
    else:
        fields["mix"] = json.dumps(dict(mix))
    fields |= {name: value for name, value in (("version", version), ("face", face)) if value is not None}
    request = {"data": fields, "files": {"image": ("image", content)}}
    return Call("POST", "/v1/expressions", Expressions.model_validate, request)


def transfer_call(
    content: bytes, drivers: Sequence[bytes], au: Mapping[int, float] | None, view: str, aligned: bool, face: int | None
) -> Call[Transfers]:
    """What `Client.transfer` asks for."""
    files = [("image", ("image", content)), *(("driver", ("driver", driver)) for driver in drivers)]
    fields: dict[str, Any] = {"view": view, "aligned": aligned}
    if au is not None:
        fields["au"] = json.dumps(au)
    if face is not None:
        fields["face"] = face
    return Call("POST", "/v1/transfer", Transfers.model_validate, {"data": fields, "files": files})


def send_call(
    photographs: Path | Sequence[str], chunks: "type[Chunks]", expression: str, intensity: float, view: str,
    answers: str, key: str | None,
) -> Call[Batch]:  # fmt: skip
    """What `Client.send_batch` asks for. chunks: how a ZIP file is read."""
    asked = {"expression": expression, "intensity": str(intensity), "view": view, "answers": answers}
    content: bytes | Chunks
    if isinstance(photographs, Path):
        content = chunks(photographs)
        kind, size = "application/zip", content.size
    else:
        content = json.dumps({"addresses": list(photographs)}).encode()
        kind, size = "application/json", len(content)
    headers = {"Content-Type": kind, "Content-Length": str(size), "Idempotency-Key": key or uuid.uuid4().hex}
    return Call("POST", "/v1/batches", Batch.model_validate, {"params": asked, "headers": headers, "content": content})


def batch_call(id: str) -> Call[Batch]:
    """What `Client.batch` asks for."""
    return Call("GET", f"/v1/batches/{quote(id, safe='')}", Batch.model_validate)


def delete_call(id: str) -> Call[None]:
    """What `Client.delete_batch` asks for."""
    return Call("DELETE", f"/v1/batches/{quote(id, safe='')}", lambda _: None)


def result_call(id: str) -> Call[bytes]:
    """What `Client.batch_result` asks for; its answer is a file."""
    return Call("GET", f"/v1/batches/{quote(id, safe='')}/result", bytes)


class Chunks:
    """A file as it is sent: in pieces, and from its beginning whenever it is sent again."""

    def __init__(self, path: Path) -> None:
        try:
            self.path, self.size = path, path.stat().st_size
            path.open("rb").close()
        except OSError as error:
            raise ClientError(f"{path}: cannot be read ({error.strerror}); give a readable ZIP file.") from None

    def pieces(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            while piece := file.read(1 << 20):
                yield piece


class SyncChunks(Chunks):
    def __iter__(self) -> Iterator[bytes]:
        return self.pieces()


class AsyncChunks(Chunks):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces():
            yield piece


@contextmanager
def whole(out: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its place when the block ends. Raises ClientError where it cannot be written."""
    part = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, out)
    except OSError as error:
        raise ClientError(f"{out}: cannot be written ({error.strerror}); give another path or make room.") from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


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


def _rate(headers: Mapping[str, str]) -> KeyRate | None:
    """The fields RateLimit-Policy and RateLimit, each the one item that the endpoint sends."""
    found = dict[str, str]()
    for name in ("ratelimit-policy", "ratelimit"):
        found.update(re.findall(r";\s*([qwrt])=(\d{1,9})(?=;|$)", headers.get(name, "")))
    if found.keys() != set("qwrt"):
        return None
    return KeyRate(*(int(found[name]) for name in "qwrt"))


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
