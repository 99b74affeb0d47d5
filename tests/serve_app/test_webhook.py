"""MLflow's webhook: a letter makes every replica look, and nothing that is in one, or that lies, does more."""

import asyncio
import base64
import hashlib
import hmac
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve_app import webhook as hook
from serve_app.api_keys import Keys, make_key
from serve_app.ingress import SECRET, free_ports
from serve_app.middleware import WEBHOOK, Around
from serve_app.model_reloader import SELDOM_SECONDS, Holder
from serve_app.webhook import DATE, ID, KIB, OLD_SECONDS, SIGNATURE, Webhook
from tests.serve_app.samples import make_bundle
from tests.serve_app.test_faults import problem_of
from visage.config import Serving, validated
from visage.registry.models import CHAMPION, Registry
from visage.registry.tracking import Tracking
from visage.registry.ui import pages

ROOT = Path(__file__).parents[2]
NAME = "visage-ucgan"
OURS = "secret-of-the-tests"
EVER = 3600.0
# Lies, and not even in the words of MLflow.
LIE = b'{"entity": "model_version_alias", "data": {"name": "visage-ucgan", "alias": "champion", "version": "99"}}'
Ask = Callable[..., httpx.Response]


def letter(body: bytes = LIE, secret: str = OURS, age: float = 0, id: str = "1") -> dict[str, Any]:
    """A letter as MLflow signs it."""
    date = str(int(time.time() - age))
    digest = hmac.new(secret.encode(), f"{id}.{date}.".encode() + body, hashlib.sha256).digest()
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {"content": body, "headers": {ID: id, DATE: date, SIGNATURE: signature}}


def changed(name: str, value: str | bytes | None) -> dict[str, Any]:
    """A genuine letter with another header, or without it."""
    made = letter()
    made["headers"] = {key: each for key, each in made["headers"].items() if key != name}
    return made | {"headers": made["headers"] | ({} if value is None else {name: value})}


class Told:
    """Counts how often all replicas are told."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.times, self.fault = 0, fault
        self.webhook = Webhook(OURS, self.tell)

    async def tell(self) -> None:
        self.times += 1
        if self.fault:
            raise self.fault


def lies() -> dict[str, dict[str, Any]]:
    """Letters that are not MLflow's, or not of now."""
    genuine = letter()["headers"]
    return {
        "of another secret": letter(secret="another"),
        "of no secret": letter(secret=""),
        "another body": letter() | {"content": LIE.replace(b"99", b"98")},
        "another id": changed(ID, "2"),
        "no id": changed(ID, None),
        "dated anew": changed(DATE, str(int(genuine[DATE]) + 1)),
        "old": letter(age=OLD_SECONDS + 60),
        "of tomorrow": letter(age=-OLD_SECONDS - 60),
        "no date": changed(DATE, None),
        "a date of words": changed(DATE, "now"),
        "a date before all": changed(DATE, f"-{genuine[DATE]}"),
        "a date without end": changed(DATE, "9" * 5000),
        "a date of no ASCII": changed(DATE, "\u0661\u0662".encode()),
        "no signature": changed(SIGNATURE, None),
        "an empty signature": changed(SIGNATURE, "v1,"),
        "another version of signatures": changed(SIGNATURE, genuine[SIGNATURE].replace("v1", "v2")),
        "a signature cut off": changed(SIGNATURE, genuine[SIGNATURE][:-1]),
        "a signature of no ASCII": changed(SIGNATURE, b"v1,\xff\xfe"),
        "nothing at all": {},
    }


def test_a_letter_of_mlflows_needs_no_key_and_is_told(request_app: Ask, tmp_path: Path) -> None:
    make_key("anna", tmp_path / "keys")
    around, told = Around(keys=Keys(tmp_path / "keys")), Told()
    answer = request_app("POST", WEBHOOK, webhook=told.webhook, around=around, **letter())
    assert (answer.status_code, answer.content) == (202, b"")
    assert told.times == 1
    document = request_app("GET", "/openapi.json", webhook=told.webhook, around=around).json()
    operation = document["paths"][WEBHOOK]["post"]
    assert "security" not in operation
    assert {each["name"] for each in operation["parameters"]} == {ID, DATE, SIGNATURE}
    assert {"202", "403", "408", "413"} <= operation["responses"].keys()
    problem_of(request_app("GET", WEBHOOK, webhook=told.webhook), 405)


def test_without_a_secret_there_is_no_such_route(request_app: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    problem_of(request_app("POST", WEBHOOK, **letter()), 404)
    for value in ("", " \n"):
        monkeypatch.setenv(SECRET, value)
        assert hook.secret() is None
    monkeypatch.setenv(SECRET, f"{OURS}\n")  # as files of secrets have it
    assert hook.secret() == OURS


@pytest.mark.parametrize("kind", list(lies()))
def test_a_letter_that_is_not_mlflows_is_refused_and_told_to_nobody(request_app: Ask, kind: str) -> None:
    told = Told()
    detail = problem_of(request_app("POST", WEBHOOK, webhook=told.webhook, **lies()[kind]), 403)
    assert SECRET in detail or DATE in detail
    assert OURS not in detail
    assert told.times == 0


def test_a_letter_that_is_too_long_or_too_slow_is_refused(request_app: Ask) -> None:
    told = Told()

    async def without_length() -> AsyncIterator[bytes]:
        for _ in range(2 * KIB):
            yield bytes(1024)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(EVER)

    huge, most = letter(bytes(1024 * KIB + 1)), letter(bytes(1024 * KIB))
    problem_of(request_app("POST", WEBHOOK, webhook=told.webhook, **huge), 413)
    problem_of(request_app("POST", WEBHOOK, webhook=told.webhook, **letter() | {"content": without_length()}), 413)
    late = letter() | {"content": slow()}
    problem_of(request_app("POST", WEBHOOK, webhook=told.webhook, upload_seconds=0.05, **late), 408)
    assert told.times == 0
    assert request_app("POST", WEBHOOK, webhook=told.webhook, **most).status_code == 202


class Posted:
    """A request for `Webhook.take`."""

    def __init__(self, made: dict[str, Any]) -> None:
        self.headers, self._body = made["headers"], made["content"]

    async def stream(self) -> AsyncIterator[bytes]:
        yield self._body


def test_a_flood_is_told_once_at_a_time_and_its_last_letter_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is one letter sent again and again or many: what is heard while there is a rest is told after it."""
    told, same = Told(), letter()

    async def flood(webhook: Webhook) -> None:
        for number in range(500):
            await webhook.take(Posted(same if number % 2 else letter(id=str(number))))  # type: ignore[arg-type]
            await asyncio.sleep(0)

    async def all_of_it() -> None:
        monkeypatch.setattr(hook, "REST_SECONDS", EVER)
        await flood(told.webhook)
        assert told.times == 1
        monkeypatch.setattr(hook, "REST_SECONDS", 0)
        late = Told()
        await flood(late.webhook)
        while late.webhook._telling:
            await asyncio.sleep(0)
        before = late.times
        await late.webhook.take(Posted(same))  # type: ignore[arg-type]
        while late.webhook._telling:
            await asyncio.sleep(0)
        assert late.times == before + 1

    asyncio.run(all_of_it())


def test_replicas_that_cannot_be_told_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(TimeoutError("Timed out waiting for broadcast results."))
    monkeypatch.setattr(hook, "REST_SECONDS", 0)

    async def twice() -> None:
        for number in (1, 2):
            await told.webhook.take(Posted(letter()))  # type: ignore[arg-type]
            while told.webhook._telling:
                await asyncio.sleep(0)
            assert told.times == number

    asyncio.run(twice())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Versions 1 and 2; 1 is champion."""
    folder = tmp_path_factory.mktemp("webhook")
    made = Registry(f"sqlite:///{folder}/mlflow.db")
    make_bundle(folder / "bundle")
    for _ in range(2):
        made.register(folder / "bundle", Tracking(made.uri, "test").start_run("run").run_id)
    point(made, 1)
    return made


def point(registry: Registry, version: int) -> None:
    registry.client.set_registered_model_alias(NAME, CHAMPION, str(version))


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_who_is_told_asks_the_registry_and_believes_it_alone(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that would not ask by itself for an hour, told what is not so, again and again."""
    monkeypatch.setattr("serve_app.model_reloader.POLL_SECONDS", 0.2)
    asked: list[float] = []
    find = Registry.find

    def counted(self: Registry, model: str) -> Any:
        if self.uri == registry.uri:  # other tests' replicas follow theirs for ever
            asked.append(time.monotonic())
        return find(self, model)

    monkeypatch.setattr(Registry, "find", counted)
    tree = {"tracking_uri": registry.uri, "batching": {"size": 1}}
    holder = Holder(validated(Serving, tree, "test"), EVER)

    def version() -> int | None:
        assert holder.model
        return holder.model.facts.version

    assert (version(), len(asked)) == (1, 1)
    stop = time.monotonic() + 1
    while time.monotonic() < stop:  # lies, as fast as they come
        holder.look_now()
        time.sleep(0.0005)
    looks = len(asked) - 1
    assert version() == 1
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(asked[1:])), asked
    wait_for(lambda: len(asked) > looks + 1)  # and once more after the last one
    point(registry, 2)
    holder.look_now()
    wait_for(lambda: version() == 2)
    point(registry, 1)
    holder.look_now()
    wait_for(lambda: version() == 1)


def page_of(name: str, url: str) -> str:
    """The script by which a page of docs/ makes the webhook, with this endpoint in it."""
    text = (ROOT / "docs" / name).read_text()
    [script] = re.findall(r"\n    python - <<'END'\n(.*?)\n    END\n", text, re.DOTALL)
    named = re.sub(r"http://[\w.:-]+/webhook", f"{url}{WEBHOOK}", script)
    assert named != script
    return "\n".join(line.removeprefix("    ") for line in named.splitlines())


@pytest.fixture(scope="module")
def served(local_ray: None, registry: Registry) -> Iterator[tuple[str, str]]:
    """Addresses of an endpoint of two replicas, and of the MLflow server that they follow."""
    from cryptography.fernet import Fernet

    from serve_app import app

    told = {SECRET: OURS, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode()}
    told |= {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        with pages(registry.uri, free_ports(1)[0]) as (tracking, _):
            tree = {"tracking_uri": tracking, "port": free_ports(1)[0], "access": {"required": False}}
            tree |= {"replicas": {"min": 2, "max": 2, "num_cpus": 0.5}}
            try:
                yield app.serve(validated(Serving, tree, "test"), block=False), tracking
            finally:
                app.stop()


@pytest.mark.serve
def test_mlflows_own_letter_reaches_every_replica_long_before_its_poll(served: tuple[str, str]) -> None:
    url, tracking = served
    client = Registry(tracking).client

    def versions() -> set[int]:
        return {httpx.get(f"{url}/v1/model", timeout=60).json()["version"] for _ in range(20)}

    wait_for(lambda: versions() == {1})
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tracking}
    command = [sys.executable, "-c", page_of("endpoint.md", url)]
    made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["202"]
    [own] = client.list_webhooks()
    events = {f"{each.entity.value}.{each.action.value}" for each in own.events}
    assert events == {"model_version_alias.created", "model_version_alias.deleted"}
    unsigned = client.create_webhook("unsigned", own.url, ["model_version_alias.created"])
    assert client.test_webhook(unsigned.webhook_id).response_status == 403
    client.delete_webhook(unsigned.webhook_id)
    began, moves = time.monotonic(), (2, 1, 2, 1)
    for version in moves:
        client.set_registered_model_alias(NAME, CHAMPION, str(version))
        wait_for(lambda version=version: versions() == {version})
    polls = (time.monotonic() - began) / SELDOM_SECONDS + 1  # the most that a replica can have made meanwhile
    assert polls < len(moves)
