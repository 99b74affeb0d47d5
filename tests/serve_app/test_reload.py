"""A new champion takes the old one's place in a running replica; a broken one does not."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.holder import Holder
from tests.serve_app.samples import make_bundle
from visage.config import Serving, validated
from visage.registry.models import CHAMPION, Registry
from visage.registry.tracking import Tracking


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with two versions that answer and a third whose network gives no numbers; the first is champion."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking, registry = Tracking(uri, "test"), Registry(uri)
    for number, broken in enumerate((False, False, True)):
        folder = tmp_path / str(number)
        make_bundle(folder, broken=broken)
        registry.register(folder, tracking.start_run("run").run_id)
    point(registry, 1)
    return registry


def point(registry: Registry, version: int) -> None:
    """Move the alias as `promote` and `rollback` do in the end, whatever the gate would say."""
    registry.client.set_registered_model_alias("visage-ucgan", CHAMPION, str(version))


def holder_of(registry: Registry) -> Holder:
    tree = {"tracking_uri": registry.uri, "batching": {"size": 2}}
    return Holder(validated(Serving, tree, "test"), poll_seconds=0.1)


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def version(holder: Holder) -> int | None:
    assert holder.model is not None
    return holder.model.facts.version


def test_the_alias_is_followed_there_and_back_and_there_is_always_a_model(registry: Registry) -> None:
    holder = holder_of(registry)
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


def test_a_broken_version_is_refused_and_the_old_one_goes_on(registry: Registry) -> None:
    holder = holder_of(registry)
    point(registry, 3)
    wait_for(lambda: holder.refused)
    assert version(holder) == 1
    description = holder.description()
    assert description is not None
    assert description["version"] == 1
    assert description["refused"]["version"] == 3
    assert "no numbers" in description["refused"]["reason"]
    point(registry, 2)
    wait_for(lambda: version(holder) == 2)
    assert holder.refused is None


def test_a_damaged_version_is_refused_and_its_place_on_the_disk_is_not_told(registry: Registry) -> None:
    holder = holder_of(registry)
    source = Path(registry.client.get_model_version("visage-ucgan", "2").source.removeprefix("file://"))
    (source / "generator.safetensors").write_bytes(b"damaged")
    point(registry, 2)
    wait_for(lambda: holder.refused)
    assert holder.refused is not None
    assert "sha256" in holder.refused.reason
    assert str(registry.cache.parent) not in holder.refused.reason
    assert version(holder) == 1


def test_a_registry_that_is_away_changes_nothing(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    from visage.errors import UserError

    holder, asked = holder_of(registry), threading.Event()

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
