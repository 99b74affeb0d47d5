"""The async client of the endpoint; `visage.client` has both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from visage.api.calls import (
    COMPARISON,
    HEALTH,
    MODEL,
    AsyncChunks,
    Call,
    Caller,
    ClientError,
    Picture,
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
from visage.api.schema import Batch, Comparison, Transfers

# What the endpoint's document calls by the route, a program calls by what it is.
from visage.api.schema import Expressions as Answer
from visage.api.schema import ModelDescription as ModelInfo


class AsyncClient(Caller):
    """As `Client`, to be awaited; use it in an `async with` block or await `close`."""

    def __init__(self, url: str, *, api_key: str | None = None, timeout: float = 60.0, patience: float = 30.0) -> None:
        import httpx

        super().__init__(url, api_key=api_key, timeout=timeout, patience=patience)
        self._http = httpx.AsyncClient(**self._options)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def healthz(self) -> bool:
        """As `Client.healthz`."""
        try:
            return await self._once(HEALTH)
        except ClientError as error:
            if error.status == 503:
                return False
            raise

    async def model(self) -> ModelInfo:
        """As `Client.model`."""
        return await self._ask(MODEL)

    async def comparison(self) -> Comparison:
        """As `Client.comparison`."""
        return await self._ask(COMPARISON)

    async def expressions(
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
        """As `Client.expressions`."""
        from anyio import to_thread

        content = await to_thread.run_sync(content_of, image)
        return await self._ask(edit_call(content, expressions, intensity, view, aligned, format, version, face, mix))

    async def transfer(
        self,
        image: Picture,
        drivers: Picture | Sequence[Picture] = (),
        *,
        au: Mapping[int, float] | None = None,
        view: Literal["face", "photo"] = "face",
        aligned: bool = False,
        face: int | None = None,
    ) -> Transfers:
        """As `Client.transfer`."""
        from anyio import to_thread

        pictures = (image, drivers) if isinstance(drivers, Picture) else (image, *drivers)
        content, *driving = [await to_thread.run_sync(content_of, picture) for picture in pictures]
        return await self._ask(transfer_call(content, driving, au, view, aligned, face))

    async def send_batch(
        self,
        photographs: Path | Sequence[str],
        expression: str,
        *,
        intensity: float = 1.0,
        view: Literal["face", "photo"] = "face",
        answers: Literal["zip", "bucket"] = "zip",
        key: str | None = None,
    ) -> Batch:
        """As `Client.send_batch`."""
        return await self._ask(send_call(photographs, AsyncChunks, expression, intensity, view, answers, key))

    async def batch(self, id: str) -> Batch:
        """As `Client.batch`."""
        return await self._ask(batch_call(id))

    async def batch_result(self, id: str, out: Path) -> Path:
        """As `Client.batch_result`."""
        from tenacity import AsyncRetrying

        await AsyncRetrying(**self.policy())(self._fetch, result_call(id), out)
        return out

    async def delete_batch(self, id: str) -> None:
        """As `Client.delete_batch`."""
        return await self._ask(delete_call(id))

    async def _ask(self, call: Call[T]) -> T:
        from tenacity import AsyncRetrying

        return await AsyncRetrying(**self.policy())(self._once, call)

    async def _once(self, call: Call[T]) -> T:
        with self.faults():
            answer = await self._http.request(call.method, self._url + call.path, **call.content)
        return self.result(call, answer)

    async def _fetch(self, call: Call[bytes], out: Path) -> None:
        with self.faults():
            async with self._http.stream(call.method, self._url + call.path) as answer:
                if not answer.is_success:
                    await answer.aread()
                    self.result(call, answer)  # raises
                with whole(out) as file:
                    async for piece in answer.aiter_bytes():
                        file.write(piece)
