"""A new champion takes the old one's place in a running replica; a broken one does not."""

import hashlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from serve_app.model_reloader import Holder
from tests.serve_app.samples import forge, make_bundle, not_numbers
from visage.config import Serving, validated
from visage.registry.bundle_cache import CARD_HASH
from visage.registry.models import CHAMPION, Registry
from visage.registry.tracking import Tracking

NAME = "visage-ucgan"


def other_faces(weights: dict[str, Any]) -> None:
    for name, value in weights.items():
        if name.endswith("weight"):
            value.mul_(-2)


def other_shapes(weights: dict[str, Any]) -> None:
    name = next(name for name, value in weights.items() if value.ndim == 4)
    weights[name] = weights[name][:-1].contiguous()


# What may have happened to a version since it was registered, and the words of its refusal.
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bytes": (lambda folder: (folder / "generator.safetensors").write_bytes(b"damaged"), "sha256"),
    "no weights": (lambda folder: (folder / "check.safetensors").unlink(), "check.safetensors is missing"),
    "no golden": (lambda folder: (folder / "golden.safetensors").unlink(), "golden.safetensors is missing"),
    "format": (lambda folder: forge(folder, format=2), "format 2 is unknown"),
    "shapes": (lambda folder: forge(folder, other_shapes), "has the shape"),
    "no numbers": (lambda folder: forge(folder, not_numbers), "a golden picture differs"),
    "other faces": (lambda folder: forge(folder, other_faces), "a golden picture differs"),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Versions 1 and 2 answer; from 3 on each has one of DAMAGES; 1 is champion."""
    folder = tmp_path_factory.mktemp("reload")
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    tracking = Tracking(registry.uri, "test")
    make_bundle(folder / "sound")
    for number in range(1, 3 + len(DAMAGES)):
        assert registry.register(folder / "sound", tracking.start_run("run").run_id) == number
    point(registry, 1)
    return registry


def point(registry: Registry, version: int) -> None:
    """Move the alias as `promote` and `rollback` do in the end, whatever the gate would say."""
    registry.client.set_registered_model_alias(NAME, CHAMPION, str(version))


@pytest.fixture(scope="module")
def told() -> list[tuple[str, int | None]]:
    return []


@pytest.fixture(scope="module")
def told_at() -> list[float]:
    """When each of `told` was."""
    return []


@pytest.fixture(scope="module")
def holder(registry: Registry, told: list[tuple[str, int | None]], told_at: list[float]) -> Iterator[Holder]:
    """One for all tests, as its thread follows the alias for ever."""
    tree = {"tracking_uri": registry.uri, "batching": {"size": 2}}
    serving = validated(Serving, tree, "test")

    def tell(event: str, version: int | None) -> None:
        told_at.append(time.monotonic())
        told.append((event, version))

    made = Holder(serving, poll_seconds=0.1, tell=tell)
    yield made
    made._poll_seconds = 3600  # or it would go on asking beside all tests to come


@pytest.fixture(autouse=True)
def first_version(registry: Registry, holder: Holder) -> Iterator[None]:
    """Each test begins and ends with version 1."""
    yield
    point(registry, 1)
    wait_for(lambda: version(holder) == 1 and holder.refused is None)


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def version(holder: Holder) -> int | None:
    assert holder.model is not None
    return holder.model.facts.version


def test_the_alias_is_followed_there_and_back_and_there_is_always_a_model(registry: Registry, holder: Holder) -> None:
    assert version(holder) == 1
    ended, gaps = threading.Event(), []

    def watch() -> None:
        while not ended.wait(0.002):
            if holder.model is None:
                gaps.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in (2, 1):
        point(registry, number)
        wait_for(lambda number=number: version(holder) == number)
    ended.set()
    watcher.join()
    assert not gaps
    assert holder.refused is None


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3, 3 + len(DAMAGES)), ids=list(DAMAGES))
def test_a_broken_version_is_refused_and_the_old_one_goes_on(
    registry: Registry, holder: Holder, told: list[tuple[str, int | None]], number: int
) -> None:
    damage, words = list(DAMAGES.values())[number - 3]
    found = registry.client.get_model_version(NAME, str(number))
    source = Path(found.source.removeprefix("file://"))
    damage(source)
    # The card as the registry knows it, or no forged bundle would be looked at any further.
    card = hashlib.sha256((source / "card.json").read_bytes()).hexdigest()
    registry.client.set_model_version_tag(NAME, str(number), CARD_HASH, card)
    point(registry, number)
    wait_for(lambda: holder.refused)
    description = holder.description()
    assert description is not None
    assert description.version == 1
    assert description.refused is not None
    assert description.refused.version == number
    reason = description.refused.reason
    assert words in reason
    assert reason.endswith(".")
    assert str(registry.cache.dir.parent) not in reason  # a place on the server's disk is nobody's business
    wait_for(lambda: ("refused", number) in told)
    point(registry, 2)
    wait_for(lambda: version(holder) == 2)
    assert holder.refused is None
    wait_for(lambda: told[-1] == ("loaded", 2))


@pytest.mark.slow
def test_a_refused_version_is_tried_again_ever_more_rarely(
    registry: Registry,
    holder: Holder,
    told: list[tuple[str, int | None]],
    told_at: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serve_app.model_reloader.REFUSED_SECONDS", 0.5)
    source = Path(registry.client.get_model_version(NAME, "3").source.removeprefix("file://"))
    (source / "generator.safetensors").write_bytes(b"damaged")
    before = len(told)
    point(registry, 3)
    wait_for(lambda: len(told) == before + 4)
    assert set(told[before:]) == {("refused", 3)}
    first, second, third = (then - now for now, then in pairwise(told_at[before:]))
    assert (first >= 0.5, second >= 1, third >= 2) == (True, True, True)


def test_a_card_that_was_not_registered_is_refused(registry: Registry, holder: Holder) -> None:
    source = Path(registry.client.get_model_version(NAME, "2").source.removeprefix("file://"))
    shutil.rmtree(registry.cache.dir, ignore_errors=True)
    whole = (source / "card.json").read_bytes()
    forge(source, metrics={})
    (source / "card.json").write_bytes((source / "card.json").read_bytes() + b" ")
    point(registry, 2)
    wait_for(lambda: holder.refused)
    assert "not the one that was registered" in holder.refused.reason
    assert version(holder) == 1
    (source / "card.json").write_bytes(whole)


def test_a_registry_that_is_away_changes_nothing(
    registry: Registry, holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visage.errors import UserError

    asked = threading.Event()

    def away(*_: Any) -> None:
        asked.set()
        raise UserError("the registry does not answer.")

    monkeypatch.setattr(Registry, "find", away)
    assert asked.wait(60)
    assert version(holder) == 1
    assert holder.refused is None
    monkeypatch.undo()
    point(registry, 2)
    wait_for(lambda: version(holder) == 2)
