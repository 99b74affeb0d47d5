"""A client of the endpoint: typed answers, and its faults as one sentence."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from visage.errors import UserError

if TYPE_CHECKING:
    import httpx


class ClientError(UserError):
    """A fault that the endpoint reports, or that it cannot be reached (`status` is None then)."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True)
class ModelInfo:
    """The model that answers. loaded_at: UTC, ISO 8601."""

    name: str
    version: int | None
    alias: str | None
    run_id: str
    expressions: tuple[str, ...]
    image_size: int
    loaded_at: str


@dataclass(frozen=True)
class Result:
    """One expression: the picture as PNG bytes, and the self-check's values (0..1), None where it is switched off."""

    expression: str
    intensity: float
    image: bytes
    identity_similarity: float | None
    expression_confidence: float | None


@dataclass(frozen=True)
class Answer:
    """Results in the order of the request; box (x0, y0, x1, y1) and landmarks (x, y) in the picture's pixels."""

    results: tuple[Result, ...]
    box: tuple[float, ...]
    landmarks: tuple[tuple[float, ...], ...]
    model: dict[str, Any]


class Client:
    """Talks to one endpoint over kept connections; close it, or use it in a `with` block.

    Every method raises ClientError for a fault that the endpoint reports and for one that cannot be reached.
    """

    def __init__(self, url: str, *, timeout: float = 60.0) -> None:
        import httpx

        self._url = url.rstrip("/")
        self._http = httpx.Client(timeout=timeout)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def healthz(self) -> bool:
        """Whether a model can answer."""
        try:
            self._ask("GET", "/healthz")
        except ClientError as error:
            if error.status == 503:
                return False
            raise
        return True

    def model(self) -> ModelInfo:
        answer = self._ask("GET", "/v1/model")
        with self._as_expected():
            body = answer.json()
            return ModelInfo(**{**body, "expressions": tuple(body["expressions"])})

    def expressions(
        self,
        image: bytes | Path,
        expressions: Sequence[str] = (),
        *,
        intensity: float = 1.0,
        view: Literal["face", "photo"] = "face",
        aligned: bool = False,
    ) -> Answer:
        """The face of a picture with other expressions; none given means all that the model knows.

        intensity: 0..1.5. view: the aligned face alone, or the whole photograph. aligned: the picture is an aligned
        face already.
        """
        if isinstance(image, Path):
            image = _content(image)
        fields = {
            "expression": list(expressions),
            "intensity": str(intensity),
            "view": view,
            "aligned": "true" if aligned else "false",
        }
        answer = self._ask("POST", "/v1/expressions", data=fields, files={"image": ("image", image)})
        with self._as_expected():
            body = answer.json()
            results = tuple(Result(**{**each, "image": base64.b64decode(each["image"])}) for each in body["results"])
            landmarks = tuple(tuple(point) for point in body["face"]["landmarks"])
            return Answer(results, tuple(body["face"]["box"]), landmarks, body["model"])

    @contextmanager
    def _as_expected(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, TypeError):
            raise ClientError(
                f"{self._url}: answers, but not as Visage's endpoint does; give the address that `visage serve` prints."
            ) from None

    def _ask(self, method: str, path: str, **request: Any) -> "httpx.Response":
        import httpx

        try:
            answer = self._http.request(method, self._url + path, **request)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClientError(f"{self._url}: cannot be reached ({error}); start it with `visage serve`.") from None
        if answer.is_success:
            return answer
        try:
            detail = str(answer.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"{self._url}{path}: answered {answer.status_code} {answer.reason_phrase}; try again later."
        raise ClientError(detail, answer.status_code)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ClientError(f"{path}: cannot be read ({error.strerror}); give a readable picture.") from None
