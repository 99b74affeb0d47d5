"""An alias that many processes of a machine follow: the registry is asked once for all of them."""

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pytest

from serve_app.ingress import free_ports
from visage.registry.following import FOLDER, follow
from visage.registry.models import CHAMPION, NoSuchModel, Registry
from visage.registry.tracking import Tracking
from visage.registry.ui import pages

NAME = "visage-ucgan"
MODEL = f"{NAME}@{CHAMPION}"
EVER = 3600.0


@pytest.fixture
def registry(empty_store: str, make_bundle, tmp_path: Path) -> Registry:
    """Versions 1 and 2, and no champion."""
    made = Registry(empty_store)
    for seed in range(2):
        run = Tracking(empty_store, "test").start_run("run")
        made.register(make_bundle(tmp_path / f"bundle-{seed}", seed).dir, run.run_id)
    return made


@pytest.fixture
def asked(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each question to the registry of the test."""
    questions: list[str] = []
    find = Registry.find

    def counted(self: Registry, model: str):
        if self.uri == registry.uri:
            questions.append(model)
        return find(self, model)

    monkeypatch.setattr(Registry, "find", counted)
    return questions


def point(registry: Registry, version: int) -> None:
    registry.client.set_registered_model_alias(NAME, CHAMPION, str(version))


def test_an_answer_serves_all_until_it_is_old(registry: Registry, asked: list[str]) -> None:
    point(registry, 1)
    assert follow(registry, MODEL, 0).version == 1
    point(registry, 2)
    others = [Registry(registry.uri) for _ in range(3)]
    assert [follow(other, MODEL, EVER).version for other in others] == [1, 1, 1]
    assert len(asked) == 1
    assert [follow(other, MODEL, 0).version for other in others] == [2, 2, 2]
    assert follow(registry, MODEL, EVER) == registry.find(MODEL)


def test_an_alias_that_is_not_there_is_told_to_all(registry: Registry, asked: list[str]) -> None:
    for seconds in (0.0, EVER, EVER):
        with pytest.raises(NoSuchModel, match="has no alias champion"):
            follow(registry, MODEL, seconds)
    assert len(asked) == 1


def test_while_one_asks_the_others_take_what_was_told_before(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    point(registry, 1)
    follow(registry, MODEL, 0)
    find, slow = Registry.find, []

    def waits(self: Registry, model: str):
        slow.append(model)
        while len(slow) == 1 and not done:
            time.sleep(0.01)
        return find(self, model)

    done: list[bool] = []
    monkeypatch.setattr(Registry, "find", waits)
    asking = Thread(target=lambda: follow(registry, MODEL, 1e-9))
    asking.start()
    while not slow:
        time.sleep(0.01)
    assert follow(Registry(registry.uri), MODEL, EVER).version == 1
    done.append(True)
    asking.join(60)
    assert len(slow) == 1


def test_all_who_are_told_at_once_ask_once(
    registry: Registry, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow's webhook tells all replicas of a machine that an alias was moved."""
    point(registry, 1)
    find = Registry.find

    def slow(self: Registry, model: str):
        time.sleep(0.2)
        return find(self, model)

    monkeypatch.setattr(Registry, "find", slow)
    others = [Registry(registry.uri) for _ in range(8)]
    with ThreadPoolExecutor(len(others)) as threads:
        answers = list(threads.map(lambda own: follow(own, MODEL, EVER, wait=True).version, others))
    assert (answers, len(asked)) == ([1] * len(others), 1)


@pytest.mark.parametrize("damaged", ["", "[1]", "{}", '{"facts": {"name": 3}}', '{"facts": 1}'])
def test_a_damaged_answer_is_asked_anew(registry: Registry, asked: list[str], damaged: str) -> None:
    point(registry, 1)
    follow(registry, MODEL, 0)
    (kept,) = (registry.cache.dir.parent / FOLDER).glob("*.json")
    kept.write_text(damaged)
    assert follow(registry, MODEL, EVER).version == 1
    assert len(asked) == 2
    assert "facts" in json.loads(kept.read_text())


def test_a_version_is_no_alias_and_is_never_kept(registry: Registry) -> None:
    assert follow(registry, f"{NAME}/2", EVER).version == 2
    assert not (registry.cache.dir.parent / FOLDER).exists()


FOLLOWER = """
import sys, threading, time
from visage.registry.following import follow
from visage.registry.models import Registry
uri, model, replicas, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
asked, find = [], Registry.find
Registry.find = lambda self, model: (asked.append(model), find(self, model))[1]
registries = [Registry(uri) for _ in range(replicas)]
until = time.monotonic() + seconds
def one(registry):
    while time.monotonic() < until:
        follow(registry, model, 2.0)
        time.sleep(2.0)
threads = [threading.Thread(target=one, args=(each,)) for each in registries]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(asked))
"""


@pytest.mark.soak
def test_fifty_replicas_ask_a_server_no_more_than_once_in_two_seconds(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten processes with five replicas each, which follow a champion for half a minute."""
    point(registry, 1)
    monkeypatch.setenv("VISAGE_HOME", str(tmp_path))
    with pages(registry.uri, free_ports(1)[0]) as (server, _):
        command = [sys.executable, "-c", FOLLOWER, server, MODEL, "5", "30"]
        asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(10)]
        counts = [int(process.communicate(timeout=300)[0]) for process in asking]
    assert 1 <= sum(counts) <= 30 / 2 + len(asking), counts  # processes of a busy machine begin one after another
