"""The endpoint under Ray Serve: one deployment, asked over HTTP as anyone would."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from typer.testing import CliRunner

from serve_app import app
from serve_app.ingress import free_ports
from tests.faces.photos import face as drawn
from tests.faces.photos import photograph, save
from tests.serve_app.samples import EXPRESSIONS, UNITS, bomb, face, make_bundle, opened, png
from visage.cli import app as commands
from visage.client import AsyncClient, Client, ClientError
from visage.config import Serving, validated
from visage.errors import UserError


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A registry with one version and no champion."""
    from visage.registry.models import Registry
    from visage.registry.tracking import Tracking

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    make_bundle(folder / "bundle")
    run = Tracking(uri, "test").start_run("run")
    registry = Registry(uri)
    registry.register(folder / "bundle", run.run_id)
    return registry


def serving_of(registry: Any, **more: Any) -> Serving:
    tree = {"tracking_uri": registry.uri, "port": free_ports(1)[0], "replicas": {"max": 1}}
    tree |= {"access": {"required": False}, **more}
    return validated(Serving, tree, "test")


@pytest.fixture(scope="module")
def started(
    local_ray: None, registry: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, list[httpx.Response]]]:
    """The address, and what the endpoint answered while there was no champion."""
    carrier = tmp_path_factory.mktemp("carrier") / "bundle"
    make_bundle(carrier, method="eft")
    with pytest.MonkeyPatch.context() as patch:
        # As when the alias is gone by the time a replica starts.
        patch.setattr(type(registry), "find", lambda *_: None)
        url = app.serve(serving_of(registry, challenger={"shadow": 1}, transfer=str(carrier)), block=False)
    try:
        files = {"image": ("face.png", png(face()))}
        before = [httpx.get(f"{url}/healthz"), httpx.post(f"{url}/v1/expressions", files=files, timeout=60)]
        registry.promote("visage-ucgan/1", force=True)
        deadline = time.monotonic() + 120
        with Client(url) as client:
            while not client.healthz():
                assert time.monotonic() < deadline
                time.sleep(0.2)
        yield url, before
    finally:
        app.stop()


@pytest.fixture(scope="module")
def url(started: tuple[str, list[httpx.Response]]) -> str:
    return started[0]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.mark.serve
def test_a_missing_champion_is_a_503_until_there_is_one(started: tuple[str, list[httpx.Response]]) -> None:
    for answer in started[1]:
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "champion" in answer.json()["detail"]
        # The registry's address is nobody's business.
        assert "sqlite" not in answer.text


@pytest.mark.serve
def test_the_model_says_what_it_is(client: Client, registry: Any) -> None:
    model = client.model()
    assert (model.name, model.version, model.alias) == ("visage-ucgan", 1, "champion")
    assert model.expressions == EXPRESSIONS
    assert model.run_id == registry.list()[0].run_id


@pytest.mark.serve
def test_all_expressions_of_one_face(client: Client) -> None:
    answer = client.expressions(png(face()), aligned=True)
    assert [result.expression for result in answer.results] == list(EXPRESSIONS)
    assert answer.model.version == 1
    for result in answer.results:
        assert opened(result.image).shape == (32, 32, 3)
        assert result.identity_similarity is not None
        assert -1 <= result.identity_similarity <= 1


@pytest.mark.serve
def test_expressions_go_from_face_to_face(client: Client, url: str, tmp_path: Path) -> None:
    transfer = client.model().transfer
    assert transfer
    assert transfer.name == "visage-eft"
    answer = client.transfer(png(face()), [png(face(1)), png(face(2))], aligned=True)
    first, second = (opened(result.image).astype(int) for result in answer.results)
    assert first.shape == (32, 32, 3)
    assert (first != second).any()

    async def alone() -> bytes:
        async with AsyncClient(url) as other:
            return (await other.transfer(png(face()), png(face(2)), aligned=True)).results[0].image

    assert np.abs(opened(asyncio.run(alone())) - second).max() <= 1
    assert transfer.action_units == UNITS
    (told,) = client.transfer(png(face()), au={12: 0.9}, aligned=True).results
    assert told.driver is None
    assert set(told.read) == set(UNITS)
    assert (opened(told.image) != first).any()
    photos = [str(save(tmp_path / f"{name}.png", photograph(drawn(1, name)))) for name in ("neutral", "happy")]
    made = tmp_path / "made.png"
    run = CliRunner().invoke(commands, ["transfer", photos[0], "--from", photos[1], "--url", url, "--out", str(made)])
    assert run.exit_code == 0, run.output
    assert opened(made.read_bytes()).shape == (256, 256, 3)


@pytest.mark.serve
def test_one_expression_is_the_picture_itself(url: str) -> None:
    files = {"image": ("face.png", png(face())), "expression": (None, "sad"), "aligned": (None, "true")}
    answer = httpx.post(f"{url}/v1/expressions", files=files, headers={"Accept": "image/*"}, timeout=60)
    assert answer.headers["content-type"] == "image/png"
    assert opened(answer.content).shape == (32, 32, 3)


@pytest.mark.serve
def test_company_in_a_batch_changes_no_face(client: Client) -> None:
    def happy(seed: int) -> np.ndarray:
        return opened(client.expressions(png(face(seed)), ["happy"], aligned=True).results[0].image)

    alone = happy(0)
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(happy, range(8)))
    assert np.abs(together[0].astype(int) - alone).max() <= 1
    # And nobody was given another's face.
    for seed in range(1, 8):
        assert np.abs(together[seed].astype(int) - happy(seed)).max() <= 1
        assert np.abs(together[seed].astype(int) - alone).max() > 10


@pytest.mark.serve
def test_faults_reach_the_client_as_sentences(client: Client, url: str) -> None:
    cases = [
        (400, b"text", {}),
        (400, b"", {}),
        (400, png(face())[:200], {"aligned": True}),
        (400, png(np.zeros((1, 1, 3), np.uint8)), {}),
        (413, bomb(), {}),
        (413, bytes(21_000_000), {}),
        (422, png(np.full((200, 200, 3), 90, np.uint8)), {}),
        (422, png(face()), {"aligned": True, "intensity": 2.0}),
        (422, png(face()), {"aligned": True, "expressions": ["smug"]}),
    ]
    for status, content, more in cases:
        with pytest.raises(ClientError) as fault:
            client.expressions(content, **more)
        assert fault.value.status == status, str(fault.value)
        assert "Traceback" not in str(fault.value)
    assert httpx.get(f"{url}/nothing").status_code == 404
    assert httpx.post(f"{url}/v1/expressions", content=b"x").status_code == 415
    assert httpx.get(f"{url}/docs").status_code == 200
    assert client.healthz()


@pytest.mark.serve
def test_a_real_photograph_is_changed_in_the_face_alone(client: Client, london: Path) -> None:
    path = min((london / "neutral_front").glob("*.jpg"))
    answer = client.expressions(path, ["happy"], view="photo")
    photo, edited = opened(path.read_bytes()), opened(answer.results[0].image)
    x0, y0, x1, y1 = answer.box
    assert edited.shape == photo.shape
    changed = (edited != photo).any(axis=2)
    assert changed.any()
    rows, columns = np.nonzero(changed)
    margin = 0.35 * (y1 - y0)
    assert y0 - margin <= rows.min()
    assert rows.max() <= y1 + margin
    assert x0 - margin <= columns.min()
    assert columns.max() <= x1 + margin
    assert len(answer.landmarks) == 5


@contextmanager
def asking(url: str, clients: int) -> Iterator[list[tuple[int, int | None]]]:
    """Requests without a pause while the block runs; yields status and version of those that were answered.

    Raises what a connection that broke raised.
    """
    content, ended = png(face()), threading.Event()
    answered: list[tuple[int, int | None]] = []

    def ask() -> None:
        files = {"image": ("face.png", content), "expression": (None, "sad"), "aligned": (None, "true")}
        with httpx.Client(timeout=120) as http:
            while not ended.is_set():
                answer = http.post(f"{url}/v1/expressions", files=files)
                answered.append((answer.status_code, answer.json().get("model", {}).get("version")))

    with ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(ask) for _ in range(clients)]
        try:
            yield answered
        finally:
            ended.set()
        for client in running:
            client.result()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.serve
def test_a_promotion_and_a_rollback_lose_no_request(url: str, registry: Any, tmp_path: Path) -> None:
    make_bundle(tmp_path / "second")
    second = registry.register(tmp_path / "second", registry.list()[0].run_id)
    with asking(url, 32) as answered:

        def answers(version: int) -> bool:
            # All of the last ones: a single one may be an answer from before the change.
            return {found for _, found in answered[-64:]} == {version}

        until(lambda: answers(1))
        registry.promote(f"visage-ucgan/{second}", force=True)
        until(lambda: answers(second))
        assert registry.rollback("visage-ucgan").version == 1
        until(lambda: answers(1))
    assert {status for status, _ in answered} == {200}
    assert {version for _, version in answered} == {1, second}


@pytest.mark.serve
def test_a_challenger_follows_its_alias_and_is_compared_over_all_replicas(
    client: Client, registry: Any, tmp_path: Path
) -> None:
    make_bundle(tmp_path / "third", seed=3)
    third = registry.register(tmp_path / "third", registry.list()[0].run_id)
    registry.client.set_registered_model_alias("visage-ucgan", "challenger", str(third))
    until(lambda: client.model().challenger)
    assert client.expressions(png(face()), ["sad"], aligned=True, version="challenger").model.version == third
    assert client.expressions(png(face()), ["sad"], aligned=True).model.version == 1
    until(lambda: client.comparison().shadow["identity_similarity"].challenger_requests == 1)
    shown = CliRunner().invoke(commands, ["compare", "visage-ucgan", "--url", client._url])
    assert "too few requests" in shown.output
    # When it becomes the champion it is nobody's challenger any more.
    registry.promote(f"visage-ucgan/{third}", force=True)
    until(lambda: client.model().version == third and client.model().challenger is None)
    registry.rollback("visage-ucgan")
    until(lambda: client.model().version == 1)


@pytest.mark.serve
def test_other_code_and_settings_are_rolled_out_without_a_lost_request(url: str, client: Client, registry: Any) -> None:
    port = int(url.rsplit(":", 1)[1])
    with asking(url, 8) as answered:
        until(lambda: answered)
        before = client.model().loaded_at
        assert app.serve(serving_of(registry, port=port, limits={"megabytes": 19}), block=False) == url
        seen = len(answered)
        until(lambda: len(answered) > seen + 50)
    assert {status for status, _ in answered} == {200}
    assert client.model().loaded_at > before
    with pytest.raises(ClientError, match="19 megabytes"):
        client.expressions(bytes(20_000_000))


@pytest.mark.serve
def test_it_listens_on_loopback_alone(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    outside = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in outside - {"127.0.0.1", "127.0.1.1"}:
        with socket.socket() as probe:
            probe.settimeout(2)
            assert probe.connect_ex((str(address), port)) != 0


def refused(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sentence with which `serve` refuses before it starts anything."""
    import ray

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr(ray, "init", never)
    monkeypatch.setattr(app, "_run", never)
    with pytest.raises(UserError) as fault:
        app.serve(serving, block=False)
    return str(fault.value)


def test_an_unknown_model_is_refused_before_anything_starts(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "absent" in refused(serving_of(registry, model="visage-ucgan@absent"), monkeypatch)
    assert "visage-x" in refused(serving_of(registry, model="visage-x/1"), monkeypatch)


def test_a_port_in_use_is_refused_before_anything_starts(registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in refused(serving_of(registry, model="visage-ucgan/1", port=port), monkeypatch)


@pytest.mark.parametrize(
    ("replicas", "said"),
    [({"num_gpus": 1000}, "replicas.num_gpus = 1000"), ({"min": 5000, "max": 5000}, "the 5000 of")],
)
def test_what_the_machine_does_not_have_is_refused_before_anything_starts(
    registry: Any, monkeypatch: pytest.MonkeyPatch, replicas: dict[str, int], said: str
) -> None:
    assert said in refused(serving_of(registry, model="visage-ucgan/1", replicas=replicas), monkeypatch)
