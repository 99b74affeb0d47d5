import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve_app.ingress import free_ports
from visage.config.data import HOME
from visage.errors import UserError
from visage.methods import method_of
from visage.registry.bundle_cache import CACHE_GB
from visage.registry.models import CHALLENGER, CHAMPION, PREVIOUS, Registry
from visage.registry.tracking import Tracking
from visage.registry.ui import pages

NAME = "visage-ucgan"
BETTER = {"similarity": 0.85, "probability": 0.9}
WORSE = {"similarity": 0.6, "probability": 0.5}


@pytest.fixture
def registry(empty_store: str) -> Registry:
    return Registry(empty_store)


@pytest.fixture
def add(registry: Registry, make_bundle: Callable[..., Any], tmp_path: Path) -> Callable[..., int]:
    """Registers a bundle with the given figures, from a run of its own."""
    tracking = Tracking(registry.uri, "visage")

    def add(**figures: Any) -> int:
        run = tracking.start_run("training")
        count = len(list(tmp_path.glob("bundle*")))
        bundle = make_bundle(tmp_path / f"bundle{count}", seed=count, run_id=run.run_id, **figures)
        return registry.register(bundle.dir, run.run_id)

    return add


def aliases(registry: Registry) -> dict[str, int]:
    return {alias: line.version for line in registry.list() for alias in line.aliases}


def refused(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as fault:
        call(*arguments)
    message = str(fault.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_what_is_registered_is_fetched(registry: Registry, add, tmp_path: Path):
    assert (add(), add()) == (1, 2)
    bundle = registry.fetch(f"{NAME}/2")
    assert (bundle.facts.name, bundle.facts.version, bundle.facts.alias) == (NAME, 2, None)
    assert bundle.facts.run_id == bundle.card.run_id
    assert bundle.card.sha256 != registry.fetch(f"{NAME}/1").card.sha256
    assert bundle.generator().size == 32
    told = registry.client.get_registered_model(NAME).description  # what the registry's page says above its versions
    assert all(alias in told for alias in (CHAMPION, CHALLENGER, PREVIOUS))


def test_a_folder_is_fetched_as_it_lies(registry: Registry, make_bundle, tmp_path: Path):
    folder = make_bundle(tmp_path / "bundle").dir
    facts = registry.fetch(str(folder)).facts
    assert (facts.name, facts.version, facts.alias) == (NAME, None, None)


def test_the_list(registry: Registry, add):
    assert registry.list() == []
    add(probability=0.7)
    add()
    registry.promote(f"{NAME}/1")
    newest, oldest = registry.list()
    assert (newest.version, newest.aliases, newest.verdict) == (2, (), "")
    assert (oldest.version, oldest.aliases, oldest.verdict) == (1, ("champion",), "promote")
    assert oldest.metrics == {"score": 0.7}


def test_a_fetched_model_is_downloaded_once_and_checked_each_time(registry: Registry, add):
    add()
    first = registry.fetch(f"{NAME}/1")
    stamp = (first.dir / "generator.safetensors").stat().st_mtime_ns
    again = registry.fetch(f"{NAME}/1")
    assert (again.dir, (again.dir / "generator.safetensors").stat().st_mtime_ns) == (first.dir, stamp)
    (first.dir / "generator.safetensors").write_bytes(b"damaged on this disk")
    assert registry.fetch(f"{NAME}/1").card == first.card


def test_what_was_used_longest_ago_leaves_the_cache(registry: Registry, add, monkeypatch: pytest.MonkeyPatch):
    """But neither what is in use, here or in another process, nor what another process is fetching."""
    add()
    mine = registry.fetch(f"{NAME}/1").dir
    size = sum(file.stat().st_size for file in mine.rglob("*"))
    for age in range(1, 9):
        other = registry.cache.dir / f"{NAME}-{age}"
        other.mkdir()
        (other / "generator.safetensors").write_bytes(bytes(size))
        os.utime(other, (0, time.time() - 60 * age))
    used = registry.cache.dir / f"{NAME}-7"
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)  # as a process that reads it
    for name, age in ((".fetch-now", 60), (".fetch-killed", 4000)):
        (registry.cache.dir / name).mkdir()
        os.utime(registry.cache.dir / name, (0, time.time() - age))
    os.utime(mine, (0, 0))
    registry.fetch(f"{NAME}/1")  # is used again
    add()
    monkeypatch.setenv(CACHE_GB, f"{4.5 * size / 1e9:.12f}")
    theirs = registry.fetch(f"{NAME}/2")
    os.close(lock)
    left = {path.name for path in registry.cache.dir.iterdir()}
    assert left == {mine.name, theirs.dir.name, f"{NAME}-1", f"{NAME}-2", f"{NAME}-7", ".fetch-now"}
    add()
    monkeypatch.setenv(CACHE_GB, "0.000000001")
    newest = registry.fetch(f"{NAME}/3")  # larger than the cache, and in use
    assert newest.generator()
    assert {path.name for path in registry.cache.dir.iterdir()} == {newest.dir.name, theirs.dir.name, ".fetch-now"}


@pytest.mark.parametrize("size", ["0", "-1", "nan", "plenty"])
def test_a_cache_of_no_size_is_refused(registry: Registry, add, monkeypatch: pytest.MonkeyPatch, size: str):
    add()
    monkeypatch.setenv(CACHE_GB, size)
    assert f"VISAGE_CACHE_GB = {size}: is no size" in refused(registry.fetch, f"{NAME}/1")


def test_a_bundle_that_was_damaged_in_the_store_is_refused(registry: Registry, add, make_bundle, tmp_path: Path):
    add()
    stored = Path(registry.client.get_model_version(NAME, "1").source.removeprefix("file://"))
    (stored / "generator.safetensors").write_bytes(b"damaged")
    assert "generator.safetensors" in refused(registry.fetch, f"{NAME}/1")
    # A whole bundle in its place, but not the one that was registered.
    for path in make_bundle(tmp_path / "forged", seed=9).dir.iterdir():
        (stored / path.name).write_bytes(path.read_bytes())
    assert "not the one that was registered" in refused(registry.fetch, f"{NAME}/1")
    assert not any(path.name.startswith(".fetch") for path in registry.cache.dir.iterdir())


@pytest.mark.slow
def test_what_a_server_has_is_fetched_by_a_process_whose_folder_is_read_only(
    registry: Registry, make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with pages(registry.uri, free_ports(1)[0]) as (url, _):
        run = Tracking(url, "served").start_run("training").run_id
        served = Registry(url)
        served.register(make_bundle(tmp_path / "bundle", run_id=run).dir, run)
        assert "has no alias champion" in refused(served.find, f"{NAME}@champion")  # a server says so in other words
        monkeypatch.delenv(HOME, raising=False)
        monkeypatch.chdir("/proc")  # nobody can write there, not even root
        assert f"name a folder that can be written in {HOME}" in refused(served.fetch, f"{NAME}/1")
        monkeypatch.setenv(HOME, str(tmp_path / "home"))
        bundle = Registry(url).fetch(f"{NAME}/1")
    assert bundle.dir.is_relative_to(tmp_path / "home" / "runs" / "cache")


@pytest.mark.slow
def test_a_store_that_others_fill_too(registry: Registry, add):
    for number in range(100):  # a page of MLflow's, and all before `visage-`
        registry.client.create_registered_model(f"theirs-{number:03d}")
    assert (add(**WORSE), add(**BETTER)) == (1, 2)
    registry.promote(f"{NAME}/1")
    registry.promote(f"{NAME}/2")
    assert registry.find(f"{NAME}@champion").version == 2
    assert registry.is_champion(f"{NAME}/2")
    assert [line.version for line in registry.list()] == [2, 1]
    assert registry.rollback(NAME).version == 1
    named = refused(registry.find, "visage-eft@champion")
    assert NAME in named
    assert "theirs" not in named


def test_what_is_not_there_is_named(registry: Registry, add, tmp_path: Path):
    assert "none yet" in refused(registry.fetch, f"{NAME}@champion")
    add()
    assert "no alias champion" in refused(registry.fetch, f"{NAME}@champion")
    assert "its versions are 1" in refused(registry.fetch, f"{NAME}/7")
    assert "name/version" in refused(registry.fetch, f"{NAME}/{10**20}")  # more than a database can hold
    assert NAME in refused(registry.fetch, "visage-eft/1")
    assert "name@alias" in refused(registry.fetch, "no such folder")
    assert "no bundle" in refused(registry.fetch, str(tmp_path))
    assert "previous" in refused(registry.rollback, NAME)
    assert "no registered model" in refused(registry.rollback, "other")
    (tmp_path / "empty").mkdir()
    assert "no bundle" in refused(registry.register, tmp_path / "empty", "run")


def test_a_folder_is_not_promoted(registry: Registry, make_bundle, tmp_path: Path):
    make_bundle(tmp_path / "bundle")
    assert "is a folder and no registered version" in refused(registry.promote, str(tmp_path / "bundle"))


def test_the_list_fits_a_terminal(registry: Registry, add, monkeypatch: pytest.MonkeyPatch):
    import io

    from rich.console import Console

    from visage.workflows import models as model_commands

    registry.promote(f"visage-ucgan/{add()}", force=True)
    out = io.StringIO()
    monkeypatch.setattr(model_commands, "console", Console(file=out, width=80))
    model_commands.list_models(registry.uri)
    (line,) = (line for line in out.getvalue().splitlines() if "visage-ucgan/1" in line)
    assert "champion" in line
    assert "promote" in line or "undecided" in line
    assert f"{registry.list()[0].created:%Y-%m-%d}" in line


def test_an_unknown_run_registers_nothing(registry: Registry, make_bundle, tmp_path: Path):
    bundle = make_bundle(tmp_path / "bundle")
    assert "not found" in refused(registry.register, bundle.dir, "0" * 32)
    assert registry.list() == []


def test_the_first_champion_must_beat_the_copied_input(registry: Registry, add):
    add(probability=0.05, similarity=0.85)
    rejected = registry.promote(f"{NAME}/1")
    assert (rejected.verdict.decision, rejected.alias) == ("reject", None)
    add()
    assert registry.promote(f"{NAME}/2").verdict.decision == "promote"
    assert aliases(registry) == {"champion": 2}


def test_a_champion_must_beat_the_arithmetic(registry: Registry, add, result_entries):
    """Better than the champion, and below what the mean change of the training faces reaches: 0.80 and 0.30."""
    add(similarity=0.5, probability=0.1)
    registry.promote(f"{NAME}/1", force=True)
    add(similarity=0.7, probability=0.2)
    rejected = registry.promote(f"{NAME}/2")
    assert (rejected.verdict.decision, rejected.alias) == ("reject", None)
    assert "without a network (mean change)" in rejected.verdict.reasons[2]
    tags = registry.client.get_model_version(NAME, "2").tags
    assert '"floor"' in tags["visage.gate.intervals"]
    assert "mean change" in tags["visage.gate.reasons"]


@pytest.mark.slow
def test_results_without_floors_say_what_to_do(registry: Registry, add, result_entries):
    old = [entry for row in ({**BETTER, "verified": 0.95},) for entry in result_entries("model", **row)]
    old += result_entries("copy", 0.85, 0.05, 0.95) + result_entries("mean_face", 0.1, 0.9, 0.05)
    add(results=old)
    promotion = registry.promote(f"{NAME}/1")
    assert (promotion.verdict.decision, promotion.alias) == ("undecided", "challenger")
    assert "no row mean_change" in promotion.verdict.reasons[0]
    assert "visage train" in promotion.verdict.reasons[0]
    registry.promote(f"{NAME}/1", force=True)
    add(similarity=0.9, probability=0.95)
    assert registry.promote(f"{NAME}/2").verdict.decision == "promote"  # its own row can be compared


@pytest.mark.slow
def test_transfers_that_were_measured_the_old_way_are_not_compared(registry: Registry, add, result_entries):
    old = [entry for row in ("model", "copy", "driver") for entry in result_entries(row, 0.8, 0.5, 0.9)]
    floors = [entry for row in method_of("eft").measured.floors for entry in result_entries(row, 0.8, 0.1, 0.9)]
    add(method="eft", results=old)
    registry.promote("visage-eft/1", force=True)
    add(method="eft", results=floors + result_entries("model", 0.8, 0.7, 0.9) + result_entries("driver", 0, 1, 0))
    promotion = registry.promote("visage-eft/2")
    assert promotion.verdict.decision == "undecided"
    assert "visage-eft/1: its results are of an older Visage" in promotion.verdict.reasons[0]


@pytest.mark.slow
def test_a_better_candidate_takes_over_and_can_be_rolled_back(registry: Registry, add):
    add(**WORSE)
    add(**BETTER)
    registry.promote(f"{NAME}/1")
    promotion = registry.promote(f"{NAME}/2")
    assert (promotion.facts.version, promotion.facts.alias, promotion.forced) == (2, "champion", False)
    assert aliases(registry) == {"champion": 2, "previous": 1}
    assert registry.fetch(f"{NAME}@champion").facts.version == 2
    assert registry.rollback(NAME).version == 1
    assert aliases(registry) == {"champion": 1, "previous": 2}
    assert registry.rollback(NAME).version == 2
    assert aliases(registry) == {"champion": 2, "previous": 1}


@pytest.mark.slow
def test_a_rejected_candidate_is_never_the_challenger_that_callers_may_get(registry: Registry, add):
    add(**BETTER)
    add(**WORSE)
    registry.promote(f"{NAME}/1")
    rejected = registry.promote(f"{NAME}/2")
    assert (rejected.verdict.decision, rejected.alias) == ("reject", None)
    assert aliases(registry) == {"champion": 1}
    registry.client.set_registered_model_alias(NAME, CHALLENGER, "2")  # as from a time when nobody had judged it
    registry.promote(f"{NAME}@challenger")
    assert aliases(registry) == {"champion": 1}
    registry.client.set_registered_model_alias(NAME, CHALLENGER, "2")
    forced = registry.promote(f"{NAME}@challenger", force=True)
    assert (forced.verdict.decision, forced.forced, forced.alias) == ("reject", True, "champion")
    assert aliases(registry) == {"champion": 2, "previous": 1}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("probability", "decision", "after"),
    [(0.7, "reject", {"champion": 2, "previous": 1}), (0.97, "promote", {"champion": 3, "previous": 2})],
)
def test_who_became_champion_meanwhile_is_judged_against(
    registry: Registry, add, monkeypatch: pytest.MonkeyPatch, probability: float, decision: str, after: dict[str, int]
):
    add(**WORSE)
    add(**BETTER)
    add(**(BETTER | {"probability": probability}))  # better than version 1 in either case
    registry.promote(f"{NAME}/1")
    write = registry.client.set_model_version_tag
    others = iter([Registry(registry.uri)])

    def quicker(*tag: str) -> None:
        """Another process promotes version 2 when this one has its verdict about version 3."""
        for other in others:
            assert other.promote(f"{NAME}/2").alias == "champion"
        write(*tag)

    monkeypatch.setattr(registry.client, "set_model_version_tag", quicker)
    assert registry.promote(f"{NAME}/3").verdict.decision == decision
    assert aliases(registry) == after
    assert registry.client.get_model_version(NAME, "3").tags["visage.gate.against"] == "version 2"


@pytest.mark.slow
def test_a_champion_that_came_meanwhile_is_not_rolled_back(registry: Registry, add, monkeypatch: pytest.MonkeyPatch):
    for figures in (WORSE, BETTER, BETTER | {"probability": 0.97}):
        add(**figures)
    registry.promote(f"{NAME}/1")
    registry.promote(f"{NAME}/2")
    fetch = registry.cache.fetch

    def slow(*asked: Any) -> Any:
        """Another process promotes version 3 while this one fetches version 1."""
        assert Registry(registry.uri).promote(f"{NAME}/3").alias == "champion"
        return fetch(*asked)

    monkeypatch.setattr(registry.cache, "fetch", slow)
    assert "version 3 has become champion meanwhile" in refused(registry.rollback, NAME)
    assert aliases(registry) == {"champion": 3, "previous": 2}


def test_the_verdict_is_written_on_the_version(registry: Registry, add):
    add(**BETTER)
    add(**WORSE)
    registry.promote(f"{NAME}/1")
    registry.promote(f"{NAME}/2", force=True)
    tags = registry.client.get_model_version(NAME, "2").tags
    assert tags["visage.gate.verdict"] == "reject"
    assert "score against the champion, version 1" in tags["visage.gate.reasons"]
    assert tags["visage.gate.against"] == "version 1"
    assert tags["visage.gate.forced"] == "true"
    assert '"low"' in tags["visage.gate.intervals"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"people": 10}, "same faces"),
        ({"data": {"name": "b", "layout": "folder", "sha256": "1" * 64, "judges": "0" * 64}}, "other faces"),
        ({"data": {"name": "b", "layout": "folder", "sha256": "0" * 64, "judges": "1" * 64}}, "other judges"),
        ({"results": []}, "no row 'model'"),
    ],
)
def test_what_cannot_be_compared_is_undecided(registry: Registry, add, change: dict[str, Any], reason: str):
    add(**WORSE)
    registry.promote(f"{NAME}/1", force=True)
    add(**({"people": 24} | BETTER | change))
    promotion = registry.promote(f"{NAME}/2")
    assert promotion.verdict.decision == "undecided"
    assert reason in promotion.verdict.reasons[0]
    assert promotion.alias == "challenger"


def test_few_test_people_leave_it_to_force(registry: Registry, add):
    add(people=19, **BETTER)
    assert registry.promote(f"{NAME}/1").verdict.decision == "undecided"
    assert aliases(registry) == {"challenger": 1}
    assert registry.promote(f"{NAME}/1", force=True).forced
    assert aliases(registry) == {"champion": 1}


@pytest.mark.slow
def test_a_damaged_champion_can_only_be_replaced_by_force(registry: Registry, add):
    add(**WORSE)
    registry.promote(f"{NAME}/1")
    add(**BETTER)
    stored = Path(registry.client.get_model_version(NAME, "1").source.removeprefix("file://"))
    (stored / "faces.png").unlink()
    for folder in registry.cache.dir.iterdir():
        (folder / "faces.png").unlink()
    assert registry.promote(f"{NAME}/2").verdict.decision == "undecided"
    assert aliases(registry)["champion"] == 1
    registry.promote(f"{NAME}/2", force=True)
    assert aliases(registry) == {"champion": 2, "previous": 1}
    assert "faces.png" in refused(registry.rollback, NAME)  # and nobody goes back to it
    assert aliases(registry)["champion"] == 2


def test_the_champion_is_no_candidate(registry: Registry, add):
    add()
    registry.promote(f"{NAME}/1")
    assert "is the champion already" in refused(registry.promote, f"{NAME}@champion")


def test_the_champion_moves_last(registry: Registry, add, monkeypatch: pytest.MonkeyPatch):
    add(**WORSE)
    add(**BETTER)
    registry.promote(f"{NAME}/1")
    done: list[str] = []
    client = registry.client
    for method in ("set_model_version_tag", "set_registered_model_alias", "delete_registered_model_alias"):
        real = getattr(client, method)

        def noted(name: str, *rest: str, real: Any = real, method: str = method) -> None:
            done.append(f"{method} {rest[0]}")
            real(name, *rest)

        monkeypatch.setattr(client, method, noted)
    registry.promote(f"{NAME}/2")
    assert "set_model_version_tag 2" in done
    assert done[-2:] == ["set_registered_model_alias previous", "set_registered_model_alias champion"]
