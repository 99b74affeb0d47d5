"""Two faces shown blind: what is asked, what is told, and where a choice goes."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import optuna
import pytest
from PIL import Image
from servers import running
from typer.testing import CliRunner

from tests.search.watch.conftest import TOKEN
from tests.search.watch.samples import begun, drawn, made
from visage.cli import app
from visage.judging.cells import Sheeted, differing
from visage.judging.choices import Choice
from visage.search.study.choices import PREFIX, choices_of
from visage.search.study.records import load_study
from visage.search.study.summary import summarise
from visage.search.watch.guard import COOKIE
from visage.search.watch.server import build_app

pytestmark = pytest.mark.slow
SCORES = [0.2, 0.8, 0.5]
KEPT = {"first": "0", "second": "1", "better": "first", "person": "both"}


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return made(tmp_path, SCORES)


@pytest.fixture
def page(tmp_path: Path, study: optuna.Study) -> Iterator[httpx.Client]:
    """A browser that has opened the page, as far as HTTP goes."""
    with running(build_app(f"sqlite:///{tmp_path}/optuna.db", TOKEN)) as url:
        cookies = {f"{COOKIE}-{httpx.URL(url).port}": TOKEN}
        with httpx.Client(base_url=url, cookies=cookies, headers={"Origin": url}, timeout=60) as client:
            yield client


def red(page: httpx.Client, key: str, part: str) -> int:
    """How red a face of a pair is: what tells the trials of `samples` apart."""
    answer = page.get(f"pair/{part}", params={"key": key})
    assert answer.headers["Cache-Control"] == "no-store"
    return int(np.asarray(Image.open(io.BytesIO(answer.content)))[48, 48, 0])


def choose(page: httpx.Client, key: str, better: str, person: str = "both", **more: str) -> httpx.Response:
    return page.post("choice", json={"key": key, "better": better, "person": person, **more})


def test_a_pair_tells_neither_trial_and_a_choice_is_kept_with_who_and_when(
    page: httpx.Client, study: optuna.Study
) -> None:
    for count in range(12):
        found = page.get("pair", params={"name": "test"}).json()
        assert set(found) == {"key", "asked", "driver", "choices"}
        assert found["asked"] in ("neutral", "happy", "sad")
        assert found["choices"] == count
        left, right = (red(page, found["key"], part) for part in ("left", "right"))
        assert left != right
        better = "left" if left > right else "right"
        assert choose(page, found["key"], better, better, who="Ann").json() == {"choices": count + 1}
    kept = choices_of(study.user_attrs)
    assert len(kept) == 12
    for choice in kept:
        winner, loser = (choice.first, choice.second) if choice.better == "first" else (choice.second, choice.first)
        assert SCORES[int(winner)] > SCORES[int(loser)]
        assert choice.person == choice.better
        assert (choice.who, choice.when[:2]) == ("Ann", "20")
    summary = summarise(study)
    assert any("12 choices by 1 person" in sentence and "prefer trial 1" in sentence for sentence in summary.why)
    assert summary.lines[0].preference == max(line.preference or 0 for line in summary.lines)
    document = page.get("study", params={"name": "test"}).json()
    assert {trial["number"]: trial["preference"] is not None for trial in document["trials"]}[1]


def test_a_choice_is_taken_once_from_the_page_itself_and_whole(page: httpx.Client, study: optuna.Study) -> None:
    key = page.get("pair", params={"name": "test"}).json()["key"]
    for origin in ("http://evil.example", f"http://127.0.0.1:{page.base_url.port - 1}", None):  # type: ignore[operator]
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in page.cookies.items())}
        headers |= {"Origin": origin} if origin else {}
        body = {"key": key, "better": "left", "person": "left"}
        assert httpx.post(page.base_url.join("choice"), json=body, headers=headers).status_code == 403
    for wrong in ({"better": "up"}, {"person": "first"}, {"who": "x" * 61}, {"first": "1"}):
        assert page.post("choice", json={"key": key, "better": "left", "person": "left", **wrong}).status_code == 422
    assert not choices_of(study.user_attrs)
    assert choose(page, key, "same").status_code == 200
    assert "take the next one" in choose(page, key, "left").json()["fault"]
    assert page.get("pair/left", params={"key": "nobody's"}).status_code == 503
    assert len(choices_of(study.user_attrs)) == 1


def test_what_cannot_be_chosen_from_is_one_sentence(tmp_path: Path) -> None:
    begun(tmp_path, "few")
    made(tmp_path / "old", [0.1, 0.2], name="few", faces=False)
    for folder, words in ((tmp_path, "0 complete trials"), (tmp_path / "old", "00000900.png")):
        with running(build_app(f"sqlite:///{folder}/optuna.db", TOKEN)) as url:
            answer = httpx.get(f"{url}/pair?name=few", cookies={f"{COOKIE}-{httpx.URL(url).port}": TOKEN}, timeout=60)
        assert answer.status_code == 503
        assert words in answer.json()["fault"]


def test_a_sheet_of_an_older_visage_is_refused_in_one_sentence() -> None:
    plain = io.BytesIO()
    Image.new("RGB", (64, 64)).save(plain, "PNG")
    for png in (plain.getvalue(), b"", b"\x89PNG\r\n\x1a\n" + bytes(40)):
        with pytest.raises(Exception, match="trial 3: does not say which faces"):
            Sheeted(png, "trial 3")


def test_only_faces_of_the_same_person_and_expression_that_differ_are_shown() -> None:

    one, other = (Sheeted(drawn(900, value), "a sheet") for value in (0.3, 0.6))
    pairs = list(differing(one, other))
    assert len(pairs) == len(one.cells) == 12
    assert all(one.cut(mine.person).tobytes() == other.cut(theirs.person).tobytes() for mine, theirs in pairs)
    assert not list(differing(one, one))


def test_a_study_that_seeks_preference_chooses_what_people_prefer(tmp_path: Path) -> None:
    study = made(tmp_path, SCORES, objectives={"preference": "max"}, final={"train.images": 900})
    assert summarise(study).best.number == 1  # type: ignore[union-attr] # by score, as nobody chose
    for number in range(6):
        choice = Choice(first="2", second=str(number % 2), better="first", person="both", asked="sad", when=str(number))
        study.set_user_attr(f"{PREFIX}{number}", choice.model_dump(mode="json"))
    again = load_study("test", f"sqlite:///{tmp_path}/optuna.db")
    assert summarise(again).best.number == 2  # type: ignore[union-attr]
    summary = summarise(again)
    assert summary.lines[0].number == 2
    assert summary.why[0].startswith("Trial 2 is what people prefer of the 3 complete trials")
    shown = CliRunner().invoke(app, ["study", "test", "--storage", f"sqlite:///{tmp_path}/optuna.db"])
    assert "people prefer" in " ".join(shown.output.split())


def test_a_leader_that_nobody_was_shown_is_not_said_to_have_the_highest_score(tmp_path: Path) -> None:
    """It leads by what it counts as: people liked the one with the highest score less than a pruned one."""
    study = made(tmp_path, SCORES, objectives={"preference": "max"}, final={"train.images": 900})
    for number in range(6):
        choice = Choice(first="3", second="1", better="first", person="both", asked="sad", when=str(number))
        study.set_user_attr(f"{PREFIX}{number}", choice.model_dump(mode="json"))
    summary = summarise(load_study("test", f"sqlite:///{tmp_path}/optuna.db"))
    assert summary.lines[0].number == 2
    assert summary.why[0].startswith("Trial 2, score 0.5000, was shown to nobody yet and counts as 0.5")


def test_what_another_program_wrote_among_the_choices_is_left_out(tmp_path: Path) -> None:
    study = made(tmp_path, SCORES)
    for number, value in enumerate(
        ["a text", {"first": "0"}, {**KEPT, "first": "the best"}, {**KEPT, "better": "up"}, KEPT]
    ):
        study.set_user_attr(f"{PREFIX}{number}", value)
    assert len(choices_of(study.user_attrs)) == 1
    assert "1 choice by 1 person" in " ".join(summarise(study).why)


def test_eyes_that_contradict_the_judges_are_told_beside_them(tmp_path: Path) -> None:
    study = made(tmp_path, SCORES)
    for number in range(12):
        choice = Choice(first="0", second="1", better="first", person="both", asked="sad", when=f"{number:02}")
        study.set_user_attr(f"{PREFIX}{number}", choice.model_dump(mode="json"))
    summary = summarise(study)
    assert summary.best
    assert summary.best.number == 1  # eyes decide where they are asked to
    assert "which contradicts that trial 1 leads" in summary.why[-1]


def test_choices_of_two_people_at_once_are_both_kept(tmp_path: Path, study: optuna.Study) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from visage.search.study.choices import keep

    def many(who: str) -> None:
        own = load_study("test", f"sqlite:///{tmp_path}/optuna.db")
        for number in range(10):
            keep(own, Choice(first="0", second="1", better="same", person="both", who=who, when=str(number)))

    with ThreadPoolExecutor(2) as people:
        list(people.map(many, ("Ann", "Bo")))
    assert len(choices_of(study.user_attrs)) == 20
