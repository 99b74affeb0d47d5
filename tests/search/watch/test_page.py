"""The page of a study in a real browser."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from httpx import URL
from servers import running

from serve_app.ingress import free_ports
from tests.browser import CONTRASTS, chromium, opened_browser
from tests.search.watch.conftest import TOKEN
from tests.search.watch.samples import add, begun, made
from visage.registry.tracking import Tracking
from visage.registry.ui import pages
from visage.search.study.choices import choices_of
from visage.search.study.lock import CLAIM
from visage.search.study.page import leading_to
from visage.search.watch.server import build_app

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.skipif(chromium() is None, reason="no Chromium here")]
PATIENCE = 60_000


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    with opened_browser() as found:
        yield found


@pytest.fixture
def opened(browser: "Browser") -> "Iterator[Callable[..., Page]]":
    """opened(url, **of the context): the page, which must ask nobody but its server and complain of nothing."""
    pages, asked, said = [], list[str](), list[str]()

    def open_page(url: str, **options: object) -> "Page":
        page = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}).new_page()  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda each: said.append(each.text) if each.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{url}/?token={TOKEN}&study=test".replace(" ", "%20"))
        pages.append((page, url))
        return page

    yield open_page
    for page, _ in pages:
        page.context.close()
    assert all(address.startswith(tuple(url for _, url in pages)) for address in asked)
    assert not [text for text in said if not text.startswith("Failed to load resource")]


def test_a_look_tells_the_leader_what_was_searched_and_the_trials(opened: "Callable[..., Page]", served: str) -> None:
    page = opened(served)
    page.locator("#rows tr").nth(7).wait_for()
    assert page.get_by_role("link", name="Choose between faces").is_visible()
    assert "token" not in page.url
    assert page.title() == "test: a study"
    assert "Trial 1 has the highest score of the 5 complete trials: 0.6200." in page.locator("#why").inner_text()
    assert page.locator("#settings th").all_inner_texts() == ["loss.pixel.weight", "loss.triplet.margin"]
    assert not page.locator("#fixed").is_visible()
    assert page.locator("#rows tr").first.locator("th").inner_text().startswith("1")
    page.locator("#curves-text", has_text="8 of 8 trials have a curve").wait_for()
    assert page.locator("#chosen-text").inner_text() == "Chosen: 1, 3, 2."
    # What an error said is text, whatever it looks like.
    page.get_by_text("the disk <b>is</b> full").first.wait_for()
    assert page.locator("#endings b, #rows b").count() == 0
    page.locator("#ending").select_option("pruned")
    assert page.locator("#rows tr").count() == 1


def test_faces_stand_side_by_side_after_the_same_images(opened: "Callable[..., Page]", served: str) -> None:
    page = opened(served)
    page.locator("#faces img").nth(2).wait_for()
    assert page.locator("#faces figcaption span:not(.swatch)").all_inner_texts() == [
        "Trial 1, score 0.6200", "Trial 3, score 0.5500", "Trial 2, score 0.4800"
    ]  # fmt: skip
    page.get_by_role("checkbox", name="Choose trial 5").check()
    page.locator("#at").select_option("300")
    page.get_by_role("img", name="Faces of trial 5 after 300 images").wait_for()
    images = "[...document.querySelectorAll('#faces img')]"
    sources = page.evaluate(f"Promise.all({images}.map(async (each) => {{ await each.decode(); return each.src; }}))")
    assert [source.partition("trial=")[2] for source in sources] == [f"{n}&images=300" for n in (1, 3, 2, 5)]
    places = page.evaluate(f"{images}.map((each) => each.getBoundingClientRect().top)")
    assert places[0] == places[1] == places[2]
    page.locator("#at").select_option("900")
    page.get_by_text("Trial 5, score 0.2000: no picture after 900 images").wait_for()
    assert "visage train --from-run" in page.locator("#faces code").nth(3).inner_text()
    page.locator("#lineage li").nth(4).wait_for()
    assert "drawn-0" in page.locator("#lineage").inner_text()
    page.locator("#seeds-text", has_text="nobody knows what a seed moves").wait_for()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_seen(opened: "Callable[..., Page]", served: str, width: int, scheme: str) -> None:
    page = opened(served, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.locator("#rows tr").nth(7).wait_for()
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    away = "document.getElementById('fault').textContent = 'The database is away.'"
    found = page.evaluate(f"() => {{ {away}; return ({CONTRASTS})(); }}")
    assert {"text of fault", "edge of copy"} <= {name for name, _, _ in found}
    assert not [(name, round(ratio, 2)) for name, ratio, least in found if ratio < least]
    drawn = page.evaluate(
        """() => {
            const { width, height } = document.getElementById("curves");
            const data = document.getElementById("curves").getContext("2d").getImageData(0, 0, width, height).data;
            return data.filter((value, at) => at % 4 === 3 && value > 0).length;
        }"""
    )
    assert drawn > 1_000


def test_it_is_used_by_keyboard_and_told_to_a_screen_reader(opened: "Callable[..., Page]", served: str) -> None:
    page = opened(served)
    page.locator("#rows tr").nth(7).wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "trials"
    sort = page.get_by_role("columnheader", name="score", exact=True).get_by_role("button")
    sort.focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("columnheader", name="score", exact=True).get_attribute("aria-sort") == "descending"
    tick = page.get_by_role("checkbox", name="Choose trial 0")
    tick.focus()
    page.keyboard.press("Space")
    assert tick.is_checked()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Choose trial 0"  # it stays there
    assert page.locator("#chosen-text").inner_text() == "Chosen: 1, 3, 2, 0."
    assert page.url.endswith("trials=1%2C3%2C2%2C0")
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, canvas, a, [role=region], section")]
            .filter((each) => each.checkVisibility() && !each.ariaLabel && !each.textContent.trim()
                && !document.getElementById(each.getAttribute("aria-labelledby"))
                && !each.labels?.length && !each.querySelector("img")?.alt).map((each) => each.outerHTML)"""
    )
    assert not unnamed
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map((each) => each.tagName)")
    assert levels[0] == "H1"
    assert set(levels[1:]) == {"H2", "H3"}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_faces_are_chosen_from_blind_and_by_keyboard(
    opened: "Callable[..., Page]", tmp_path: Path, width: int, scheme: str
) -> None:
    study = made(tmp_path, [0.2, 0.8])
    with running(build_app(f"sqlite:///{tmp_path}/optuna.db", TOKEN)) as url:
        page = opened(url, viewport={"width": width, "height": 844}, color_scheme=scheme)
        page.get_by_role("link", name="Choose between faces").click()
        page.locator("#faces").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = page.evaluate(f"({CONTRASTS})()")
        assert not [(name, round(ratio, 2)) for name, ratio, least in found if ratio < least]
        assert "trial" not in page.content().lower()
        for count in range(1, 4):
            first = page.locator("#left").get_attribute("src")
            page.keyboard.press("1")
            page.keyboard.press("5")
            page.locator("[name=person]:checked").focus()
            page.keyboard.press("Enter")
            page.locator("#count", has_text=f"{count} choice").wait_for()
            assert page.locator("#left").get_attribute("src") != first
            assert page.evaluate("document.activeElement.name") == "better"
            assert page.locator(":checked").count() == 0
        page.get_by_label("as the choices will name you").fill("Ann 1")
        page.get_by_label("No difference").check()
        page.get_by_label("Neither").check()
        page.get_by_role("button", name="Keep the choice").click()
        page.locator("#count", has_text="4 choices").wait_for()
        page.goto(page.url.replace("study=test", "study=nobody"))
        page.get_by_role("alert").get_by_text("nobody").wait_for()
    kept = choices_of(study.user_attrs)
    assert [choice.who for choice in kept] == ["", "", "", "Ann 1"]
    assert (kept[3].better, kept[3].person) == ("same", "neither")


def test_it_follows_a_study_that_runs_and_says_when_a_store_is_away(
    opened: "Callable[..., Page]", tmp_path: Path
) -> None:
    study: optuna.Study = made(tmp_path, [0.3, 0.4], faces=False)
    study.set_user_attr(CLAIM, f"{socket.gethostname()}:{os.getpid()}:0")
    (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
    with running(build_app(f"sqlite:///{tmp_path}/optuna.db", TOKEN)) as url:
        page = opened(url)
        page.locator("#fault", has_text="mlflow.db: is not there").wait_for()
        page.locator("#rows tr").nth(4).wait_for()
        (tmp_path / "moved.db").rename(tmp_path / "mlflow.db")
        page.locator("#fault:empty").wait_for(state="attached")
        page.locator("#curves-text", has_text="5 of 5 trials").wait_for()
        add(study, "", 0.9)
        page.locator("#why", has_text="Trial 5 has the highest score").wait_for()
        page.locator("#status", has_text="Trial 5 leads now").wait_for(state="attached")
        assert page.locator("#chosen-text").inner_text() == "Chosen: 5, 1, 0."


def test_nobody_is_led_to_faces_before_there_are_two_trials_to_choose_from(
    opened: "Callable[..., Page]", tmp_path: Path
) -> None:
    study, tracking, _ = begun(tmp_path)
    link = "Choose between faces"
    with running(build_app(f"sqlite:///{tmp_path}/optuna.db", TOKEN)) as url:
        add(study, tracking.start_run("first").run_id, 0.4)
        page = opened(url)
        page.locator("#why", has_text="Trial 0 has the highest score").wait_for()
        assert not page.get_by_role("link", name=link).is_visible()
        add(study, tracking.start_run("second").run_id, 0.5)
        page.get_by_role("link", name=link).wait_for()


@pytest.mark.slow
def test_mlflow_s_page_of_a_trial_leads_to_the_study_s_page(
    browser: "Browser", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, database = made(tmp_path, [0.3, 0.4], faces=False), f"sqlite:///{tmp_path}/optuna.db"
    run = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage").run(study.trials[0].user_attrs["run_id"])
    with running(build_app(database, TOKEN)) as served, pages(run.uri, free_ports(1)[0]) as (url, _):
        monkeypatch.setattr("visage.search.study.page.PORT", URL(served).port)
        run.note(leading_to("test", "visage study test", 0))
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{served}/?token={TOKEN}&study=test".replace(" ", "%20"))
        experiment = run.client.get_run(run.run_id).info.experiment_id
        other = url.replace("127.0.0.1", "localhost")  # for a browser another site
        page.goto(f"{other}/#/experiments/{experiment}/runs/{run.run_id}")
        with context.expect_page() as opened:
            page.get_by_role("link", name="The study's page").click()
        opened.value.locator("#chosen-text", has_text="Chosen: 0.").wait_for()
        context.close()


def test_without_a_name_it_lists_the_studies(opened: "Callable[..., Page]", served: str) -> None:
    page = opened(served)
    page.goto(served)
    page.get_by_role("link", name="test").click()
    page.locator("#rows tr").nth(7).wait_for()


def test_many_trials_stand_on_pages(opened: "Callable[..., Page]", tmp_path: Path) -> None:
    study = begun(tmp_path, trials=60)[0]
    for number in range(60):
        add(study, "", 0.3 + number / 1000)
    with running(build_app(f"sqlite:///{tmp_path}/optuna.db", TOKEN)) as url:
        page = opened(url)
        page.get_by_text("1 to 50 of 60").wait_for()
        assert page.locator("#rows tr").count() == 50
        page.get_by_role("button", name="Next").focus()
        page.keyboard.press("Enter")
        page.get_by_text("51 to 60 of 60").wait_for()
        assert page.locator("#rows th").all_inner_texts()[-1].split()[0] == "0"
        page.keyboard.press("Enter")  # the key that led to the last page leads back
        page.get_by_text("1 to 50 of 60").wait_for()
