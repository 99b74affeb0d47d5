"""A client of the endpoint, sync and async: typed answers, its faults as one sentence, patience where it is asked for.

with Client("http://127.0.0.1:8000") as client:
    answer = client.expressions(Path("photo.jpg"), ["happy"], view="photo")
Path("smiling.png").write_bytes(answer.results[0].image)
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from visage.api.calls import (
    COMPARISON,
    HEALTH,
    MODEL,
    Call,
    Caller,
    ClientError,
    KeyRate,
    Picture,
    SyncChunks,
    T,
    batch_call,
    content_of,
    delete_call,
    edit_call,
    result_call,
    send_call,
    transfer_call,
    whole,
)
from visage.api.schema import Batch, Comparison, ModelReference, Transfers

# What the endpoint's document calls by the route, a program calls by what it is.
from visage.api.schema import ExpressionResult as Result
from visage.api.schema import Expressions as Answer
from visage.api.schema import LoadedModel as TransferModel
from visage.api.schema import ModelDescription as ModelInfo
from visage.api.schema import TransferResult as Transferred
from visage.async_client import AsyncClient

__all__ = [
    "Answer",
    "AsyncClient",
    "Batch",
    "Client",
    "ClientError",
    "Comparison",
    "KeyRate",
    "ModelInfo",
    "ModelReference",
    "Result",
    "TransferModel",
    "Transferred",
    "Transfers",
]


class Client(Caller):
    """Talks to one endpoint over kept connections; close it, or use it in a `with` block. For several threads.

    Every method raises ClientError for a fault that the endpoint reports and for one that cannot be reached.
    """

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 60.0, patience: float = 30.0) -> None:
        import httpx

        super().__init__(url, api_key=api_key, timeout=timeout, patience=patience)
        self._http = httpx.Client(**self._options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def healthz(self) -> bool:
        """Whether a model can answer, at once."""
        try:
            return self._once(HEALTH)
        except ClientError as error:
            if error.status == 503:
                return False
            raise

    def model(self) -> ModelInfo:
        """The model that answers, and the expressions it knows."""
        return self._ask(MODEL)

    def comparison(self) -> Comparison:
        """What the endpoint's self-check says of the challenger against the champion."""
        return self._ask(COMPARISON)

    def expressions(
        self,
        image: Picture,
        expressions: Sequence[str] = (),
        *,
        intensity: float | Sequence[float] = 1.0,
        view: Literal["face", "photo"] = "face",
        aligned: bool = False,
        format: Literal["png", "webp"] = "png",
        version: Literal["champion", "challenger"] | int | None = None,
        face: int | None = None,
        mix: Mapping[str, float] | None = None,
    ) -> Answer:
        """The face of a picture with other expressions; none given means all that the model knows.

        intensity: 0..1.5; of several, each expression comes at each. view: the aligned face alone, or the whole
        photograph. aligned: the picture is an aligned face already. format: "webp" gives one animation from neutral to
        the one expression at the one intensity. version: which of the endpoint's models is to answer; None leaves it
        to the endpoint. face: which of several in the picture, counted from 1 on the left. mix: in place of expressions
        and intensity, how much of each by its name, together at most 1.5.
        """
        return self._ask(
            edit_call(content_of(image), expressions, intensity, view, aligned, format, version, face, mix)
        )

    def transfer(
        self,
        image: Picture,
        drivers: Picture | Sequence[Picture] = (),
        *,
        au: Mapping[int, float] | None = None,
        view: Literal["face", "photo"] = "face",
        aligned: bool = False,
        face: int | None = None,
    ) -> Transfers:
        """The face of a picture with the expression of each driver's face, in one pass, or with action units.

        au: in place of drivers, intensities (0..1) by FACS number, of the model's `action_units`; what is not named
        stays as the model reads it in the picture. view: the aligned face alone, or the whole photograph. aligned: all
        pictures are aligned faces already. face: which of several in the first picture, counted from 1 on the left.
        """
        pictures = (image, drivers) if isinstance(drivers, Picture) else (image, *drivers)
        content, *driving = map(content_of, pictures)
        return self._ask(transfer_call(content, driving, au, view, aligned, face))

    def send_batch(
        self,
        photographs: Path | Sequence[str],
        expression: str,
        *,
        intensity: float = 1.0,
        view: Literal["face", "photo"] = "face",
        answers: Literal["zip", "bucket"] = "zip",
        key: str | None = None,
    ) -> Batch:
        """Have photographs edited by the hundred, when there is time; `batch` says how far they are.

        photographs: a ZIP file of them, or their addresses in the endpoint's bucket, in the folder of the key. answers:
        where the pictures go, to a ZIP for `batch_result` or into the bucket. key: sent again with the same key, the
        same request is the same batch; None makes a new one of each call.
        """
        return self._ask(send_call(photographs, SyncChunks, expression, intensity, view, answers, key))

    def batch(self, id: str) -> Batch:
        """How far a batch is, and what is wrong with single photographs."""
        return self._ask(batch_call(id))

    def batch_result(self, id: str, out: Path) -> Path:
        """Write the ZIP of a batch that is done to `out`, whole, and return it."""
        from tenacity import Retrying

        Retrying(**self.policy())(self._fetch, result_call(id), out)
        return out

    def delete_batch(self, id: str) -> None:
        """Forget a batch, its photographs and its ZIP; what is not done yet is not done."""
        return self._ask(delete_call(id))

    def _ask(self, call: Call[T]) -> T:
        from tenacity import Retrying

        return Retrying(**self.policy())(self._once, call)

    def _once(self, call: Call[T]) -> T:
        with self.faults():
            answer = self._http.request(call.method, self._url + call.path, **call.content)
        return self.result(call, answer)

    def _fetch(self, call: Call[bytes], out: Path) -> None:
        with self.faults(), self._http.stream(call.method, self._url + call.path) as answer:
            if not answer.is_success:
                answer.read()
                self.result(call, answer)  # raises
            with whole(out) as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
