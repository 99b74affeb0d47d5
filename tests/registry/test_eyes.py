"""People's choices between two versions: kept in their runs, told by the gate and by `visage compare`."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from tests.search.watch.samples import drawn
from visage.cli import app
from visage.errors import UserError
from visage.judging.choices import Choice
from visage.registry.bundle import read_bundle
from visage.registry.card import MODEL_CARD
from visage.registry.eyes import FOLDER, between_versions, note
from visage.registry.models import Registry
from visage.registry.reading import Reader
from visage.registry.tracking import Tracking
from visage.search.watch.pairs import VersionPairs

NAMES = ("visage-ucgan/1", "visage-ucgan/2")


@pytest.fixture
def registry(empty_store: str, make_bundle: Callable[..., Any], tmp_path: Path) -> Registry:
    """Two versions, the second better in score, with the sheets of their runs; the first one is the champion."""
    found = Registry(empty_store)
    tracking = Tracking(found.uri, "visage")
    for number, figures in enumerate(
        [{"similarity": 0.7, "probability": 0.6}, {"similarity": 0.85, "probability": 0.9}]
    ):
        run = tracking.start_run("training")
        run.picture(drawn(900, 0.2 + 0.5 * number), "faces.png")
        found.register(make_bundle(tmp_path / f"b{number}", seed=number, run_id=run.run_id, **figures).dir, run.run_id)
    found.promote(NAMES[0], force=True)
    return found


def sitting(registry: Registry, name: str) -> VersionPairs:
    models = {each: registry.find(each).run_id for each in NAMES}
    return VersionPairs(Reader(registry.uri), models, "faces.png", name)


def choose(pairs: VersionPairs, better: str, count: int, who: str = "") -> None:
    """So many choices for the version of that name."""
    for number in range(count):
        shown = pairs.next()
        assert {shown.first, shown.second} == set(NAMES)
        assert shown.faces[0].tobytes() != shown.faces[1].tobytes()
        side = "first" if shown.first == better else "second"
        kept = {"first": shown.first, "second": shown.second, "better": side, "person": "both", "who": who}
        pairs.keep(Choice.model_validate({**kept, "asked": shown.asked, "when": str(number)}))


def test_the_gate_tells_what_eyes_say_and_what_they_contradict(registry: Registry) -> None:
    facts = [registry.find(each) for each in NAMES]
    assert between_versions(registry.client, registry.uri, facts[0], facts[1]) is None
    choose(sitting(registry, "one"), NAMES[0], 9, "Ann")
    choose(sitting(registry, "two"), NAMES[0], 6, "Bo")  # as somebody else, at the same time
    found = between_versions(registry.client, registry.uri, facts[1], facts[0])
    assert found is not None
    assert (found.choices, found.people, found.better.value, found.verdict) == (15, 2, 0.0, "second")
    verdict = registry.promote(NAMES[1]).verdict
    assert verdict.decision == "promote"  # the gate asks for no eyes
    told = "; ".join(verdict.reasons)
    assert "eyes: the candidate found better than the champion, version 1 in 0%" in told
    assert "contradicts this verdict" in told
    tags = registry.client.get_model_version("visage-ucgan", "2").tags
    assert "contradicts this verdict" in tags["visage.gate.reasons"]


def test_a_version_s_page_and_the_card_of_its_run_tell_what_was_chosen(registry: Registry, tmp_path: Path) -> None:
    registry.client.update_model_version("visage-ucgan", "2", "Written by hand.\n\nIn two parts.")
    bundles = [registry.fetch(each) for each in NAMES]
    choose(sitting(registry, "one"), NAMES[1], 3)
    for count in (3, 12):  # what is told anew takes the place of what was told
        if count > 3:
            choose(sitting(registry, "two"), NAMES[1], count - 3)
        share = between_versions(registry.client, registry.uri, bundles[0].facts, bundles[1].facts)
        assert share is not None
        note(registry.client, registry.uri, bundles[0], bundles[1], share)
    told = f"Eyes: {NAMES[0]} found better than {NAMES[1]} in 0% (0% to 24%) of 12 choices by 1 person, still the same "
    told += f"person in 100% against 100%: people prefer {NAMES[1]}."
    found = registry.client.get_model_version("visage-ucgan", "2").description
    assert found == f"Written by hand.\n\nIn two parts.\n\n{told}"
    assert registry.client.get_model_version("visage-ucgan", "1").description.endswith(f"says the rest.\n\n{told}")
    for name, bundle in zip(NAMES, bundles, strict=True):
        place = registry.client.download_artifacts(registry.find(name).run_id, MODEL_CARD, str(tmp_path))
        assert told in Path(place).read_text()
        fetched = registry.fetch(name)  # whole, and as it was registered
        assert fetched.card == bundle.card
        assert told not in (read_bundle(fetched.dir).dir / MODEL_CARD).read_text()


def test_eyes_that_agree_are_told_and_contradict_nothing(registry: Registry) -> None:
    choose(sitting(registry, "one"), NAMES[1], 12)
    reasons = "; ".join(registry.promote(NAMES[1]).verdict.reasons)
    assert "people prefer the candidate" in reasons
    assert "contradicts" not in reasons


def test_what_others_left_in_the_folder_is_left_out(registry: Registry) -> None:
    facts = [registry.find(each) for each in NAMES]
    for text in ("no JSON", '[{"first": "x"}]', "[" * 10_000):
        registry.client.log_text(facts[0].run_id, text, f"{FOLDER}/{len(text)}.json")
    choose(sitting(registry, "one"), NAMES[1], 2)
    found = between_versions(registry.client, registry.uri, facts[0], facts[1])
    assert found is not None
    assert found.choices == 2


@pytest.mark.slow
def test_compare_shows_figures_and_eyes_of_two_versions(registry: Registry, tmp_path: Path) -> None:
    def compared(*arguments: str) -> str:
        found = CliRunner().invoke(app, ["compare", *arguments, "--registry", registry.uri])
        assert found.exit_code == 0, found.output
        return " ".join(found.output.split())

    said = compared(*NAMES)
    assert "score of visage-ucgan/1 less that of visage-ucgan/2, over the same people: -0." in said
    assert "nobody chose between them yet" in said
    assert f"next: visage compare visage-ucgan/1 visage-ucgan/2 --eyes --registry {registry.uri}" in said
    choose(sitting(registry, "one"), NAMES[1], 12)
    assert "people prefer visage-ucgan/2" in compared(*NAMES)
    folder = registry.fetch(NAMES[1]).dir
    assert "score" in compared(NAMES[0], str(folder))
    for arguments, words in (
        ([NAMES[0], str(folder), "--eyes"], "needs two versions"),
        ([NAMES[0], NAMES[0], "--eyes"], "needs two versions"),
        ([NAMES[0], "--eyes"], "name both"),
        ([NAMES[0], "visage-ucgan/7"], "has no version 7"),
    ):
        with pytest.raises(UserError, match=words):
            CliRunner().invoke(app, ["compare", *arguments, "--registry", registry.uri], catch_exceptions=False)


def test_a_run_that_is_gone_holds_no_choices_and_stops_no_gate(registry: Registry) -> None:
    choose(sitting(registry, "one"), NAMES[1], 3)  # in the first version's run
    registry.client.delete_run(registry.find(NAMES[0]).run_id)
    shutil.rmtree(urlsplit(registry.client.get_run(registry.find(NAMES[0]).run_id).info.artifact_uri).path + "/eyes")
    assert registry.promote(NAMES[1]).verdict.decision == "promote"


@pytest.mark.slow
def test_compare_serves_the_page_and_tells_the_share_at_its_end(registry: Registry, tmp_path: Path) -> None:

    command = [sys.executable, "-m", "visage.cli", "compare", *NAMES, "--eyes", "--registry", registry.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"}) as process:
        watchdog = threading.Timer(240, process.kill)
        watchdog.start()
        try:
            assert process.stdout
            said = ""
            while not (found := re.search(r"http://\S+", said)):
                line = process.stdout.readline()
                assert line, said
                said += line
            port = httpx.URL(found[0]).port
            with httpx.Client(follow_redirects=True, timeout=60) as page:
                deadline = time.monotonic() + 60
                while True:
                    try:
                        assert page.get(found[0]).status_code == 200
                        break
                    except httpx.TransportError:
                        assert time.monotonic() < deadline
                        time.sleep(0.1)
                base = f"http://127.0.0.1:{port}"
                pair = page.get(f"{base}/pair", params={"name": "two versions"}).json()
                assert "visage" not in str(pair)
                body = {"key": pair["key"], "better": "left", "person": "left", "who": "Ann"}
                assert page.post(f"{base}/choice", json=body, headers={"Origin": base}).status_code == 200
            process.send_signal(signal.SIGINT)
            said += process.stdout.read()
            assert process.wait(60) == 0
        finally:
            watchdog.cancel()
            process.kill()
    assert "1 choice of this sitting kept" in said
    assert "of 1 choice by 1 person" in said
    for version, other in (("1", "2"), ("2", "1")):
        tags = registry.client.get_model_version("visage-ucgan", version).tags
        assert "of 1 choice" in tags[f"visage.eyes.visage-ucgan.{other}"]
