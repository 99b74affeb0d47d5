"""A challenger beside the champion: who answers, what is recorded, and what is said of it. Without Ray around it."""

import asyncio
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from serve_app.challenger import records
from serve_app.challenger.contest import Contest
from serve_app.challenger.records import Record, Records
from serve_app.challenger.shadow import WAITING, Quiet, Watch
from serve_app.inference import Answers, run_jobs
from serve_app.loaded_model import Model
from serve_app.request_form import Form
from serve_app.routes import build_app
from tests.serve_app.samples import EXPRESSIONS, Held, face, make_bundle, png, run_alone
from tests.servers import running
from visage.cli import app as commands
from visage.client import Client, ClientError, ModelReference
from visage.config.serving import Challenger, Limits
from visage.faces.provenance import read_provenance
from visage.judging.live import REQUESTS
from visage.methods.by_expression.editor import ExpressionEditor
from visage.registry.bundle import ModelFacts


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Champion, version 3, and challenger, version 4: other generators under the same self-check."""
    folder, made = tmp_path_factory.mktemp("two"), []
    for number, alias in ((3, "champion"), (4, "challenger")):
        bundle = make_bundle(folder / alias, seed=number)
        facts = ModelFacts("visage-ucgan", number, alias, "0" * 32)
        editor = ExpressionEditor(bundle, self_check=True)
        made.append(Model(editor, facts, "2026-01-01T00:00:00+00:00", bundle.golden(), check="same"))
    return made


NO_CHALLENGER = "visage-ucgan@challenger: there is no such alias."


@contextmanager
def served(champion: Model, challenger: Model | None, **settings: float) -> Iterator[tuple[Client, list[Record]]]:
    """A client of the two, on a real socket, and the records as they are sent."""
    networks, records, sent = ThreadPoolExecutor(1), Records(), []

    async def forward(job: Any) -> Any:
        return (await asyncio.get_running_loop().run_in_executor(networks, run_jobs, [job]))[0]

    async def send(some: list[Record], skipped: int) -> None:
        sent.extend(some)
        await records.add(some, skipped)

    quiet = Quiet(forward)
    watch = Watch(quiet, send, most_faces=8)
    contest = Contest(Held(champion), Held(challenger, NO_CHALLENGER), Challenger(**settings), watch, records.compared)
    app = build_app(Held(champion), Answers(quiet, megapixels=1, self_check=True), Limits(), contest)
    with ExitStack() as stack:
        url = stack.enter_context(running(app))
        yield stack.enter_context(Client(url, timeout=120)), sent


def until(condition: Any) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_request_may_ask_for_one_of_them(models: list[Model]) -> None:
    with served(*models, share=0.5) as (client, sent):
        for version, number in (("champion", 3), (3, 3), ("challenger", 4), (4, 4)):
            answer = client.expressions(png(face()), ["happy"], aligned=True, version=version)
            assert answer.model.version == number
            found = read_provenance(answer.results[0].image)
            assert found is not None
            assert found.version == str(number)
        with pytest.raises(ClientError, match=r"'7'.*visage-ucgan/3.*visage-ucgan/4") as fault:
            client.expressions(png(face()), aligned=True, version=7)
        assert fault.value.status == 422
        assert client.model().version == 3
        there = client.model().challenger
        assert there is not None
        assert ModelReference(**there.model_dump(include=set(ModelReference.model_fields))) == answer.model
        assert not sent  # who chooses is not a matter of chance


def test_a_picture_alone_says_in_a_header_which_model_made_it(models: list[Model]) -> None:
    with served(*models) as (client, _):
        form = {"image": png(face()), "expression": (None, "happy"), "aligned": (None, "true"), "version": (None, "4")}
        answer = httpx.post(f"{client._url}/v1/expressions", files=form, headers={"Accept": "image/png"}, timeout=120)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["visage-model"] == "visage-ucgan/4"


def test_without_a_challenger_the_champion_answers(models: list[Model]) -> None:
    with served(models[0], None, share=1, shadow=1) as (client, _):
        assert client.expressions(png(face()), ["happy"], aligned=True).model.version == 3
        assert client.model().challenger is None
        with pytest.raises(ClientError, match="no such alias"):
            client.expressions(png(face()), aligned=True, version="challenger")
        with pytest.raises(ClientError, match="no such alias") as fault:
            client.comparison()
        assert fault.value.status == 404


def test_a_challenger_that_is_the_champion_is_none(models: list[Model]) -> None:
    with served(models[0], models[0], share=1, shadow=1) as (client, _):
        assert client.expressions(png(face()), ["happy"], aligned=True).model.version == 3
        with pytest.raises(ClientError, match="is the champion itself"):
            client.comparison()


@pytest.mark.slow
def test_a_share_of_the_requests_goes_to_the_challenger_and_each_is_recorded(models: list[Model]) -> None:
    with served(*models, share=0.5) as (client, sent):
        answers = [client.expressions(png(face(seed)), ["happy", "sad"], aligned=True) for seed in range(40)]
        by = [answer.model.version for answer in answers]
        assert set(by) == {3, 4}  # one of 2^39 runs would do without
        until(lambda: len(sent) == 40)
        ours = sum(record.ours is not None for record in sent)
        assert (ours, sum(record.theirs is not None for record in sent)) == (by.count(3), by.count(4))
        similar = [sum(result.identity_similarity for result in answer.results) / 2 for answer in answers]
        expected = [value for value, version in zip(similar, by, strict=True) if version == 4]
        found = client.comparison().share["identity_similarity"]
        assert (found.champion_requests, found.challenger_requests) == (by.count(3), by.count(4))
        assert found.challenger == pytest.approx(sum(expected) / len(expected), abs=1e-4)
        assert found.verdict == "too few requests"
        assert found.difference is None


@pytest.mark.slow
def test_in_shadow_mode_the_challenger_runs_what_the_champion_answers(models: list[Model]) -> None:
    with served(*models, shadow=1) as (client, sent):
        for seed in range(5):
            answer = client.expressions(png(face(seed)), ["happy", "sad"], aligned=True)
            assert answer.model.version == 3
            until(lambda seed=seed: len(sent) == seed + 1)
            same = client.expressions(png(face(seed)), ["happy", "sad"], aligned=True, version="challenger")
            for values, results in ((sent[seed].ours, answer.results), (sent[seed].theirs, same.results)):
                assert values[0] == pytest.approx(sum(result.identity_similarity for result in results) / 2, abs=1e-4)
                assert values[1] == pytest.approx(sum(result.expression_confidence for result in results) / 2, abs=1e-4)
        # Of a picture alone no values are computed for the answer; they are then, unseen.
        form = {"image": png(face()), "expression": (None, "happy"), "aligned": (None, "true")}
        httpx.post(f"{client._url}/v1/expressions", files=form, headers={"Accept": "image/png"}, timeout=120)
        until(lambda: len(sent) == 6)
        assert sent[5].ours is not None
        # A mixture has no probability of one expression; both are asked for the one of which most was asked for.
        client.expressions(png(face()), mix={"happy": 0.6, "sad": 0.5}, aligned=True)
        until(lambda: len(sent) == 7)
        for values, number in ((sent[6].ours, 3), (sent[6].theirs, 4)):
            [plain] = client.expressions(png(face()), ["happy"], intensity=0.6, aligned=True, version=number).results
            assert values == pytest.approx((plain.identity_similarity, plain.expression_confidence), abs=1e-4)
        # Names and numbers: there is no room for a photograph.
        assert all(len(pickle.dumps(record)) < 300 for record in sent)


@pytest.mark.slow
def test_an_answer_does_not_wait_for_the_challenger(models: list[Model], monkeypatch: pytest.MonkeyPatch) -> None:
    champion, challenger = models
    go_on, begun = threading.Event(), threading.Event()
    run = challenger.editor.run

    def slow(*arguments: Any) -> Any:
        begun.set()
        assert go_on.wait(120)
        return run(*arguments)

    monkeypatch.setattr(challenger.editor, "run", slow)
    with served(champion, challenger, shadow=1) as (client, sent):
        client.expressions(png(face()), ["happy"], aligned=True)
        assert begun.wait(120)  # the answer is here while the challenger is still at work
        assert not sent
        go_on.set()
        until(lambda: len(sent) == 1)


@pytest.mark.slow
def test_unseen_runs_wait_for_a_quiet_moment_and_those_without_one_are_skipped(models: list[Model]) -> None:
    champion, challenger = models
    somebodys: Any = object()
    asked: list[Model] = []
    sent: list[Record] = []
    lost = 0

    async def scene() -> None:
        ends = asyncio.Event()

        async def forward(job: Any) -> Any:
            if job is somebodys:
                return await ends.wait()
            asked.append(job.model)
            return await run_alone(job)

        async def send(records: list[Record], skipped: int) -> None:
            nonlocal lost
            sent.extend(records)
            lost += skipped

        quiet = Quiet(forward)
        watch = Watch(quiet, send, most_faces=2)
        choice = Contest(Held(champion), Held(challenger), Challenger(shadow=1), watch).choose(None)
        answers = Answers(quiet, megapixels=1, self_check=True)
        form = Form(png(face()), (), (1.0,), "face", "png", True)
        long = asyncio.create_task(quiet(somebodys))
        await asyncio.sleep(0)
        for _ in range(WAITING + 5):
            await answers.answer(form, choice.model, as_image=False, seen=choice.seen)
        assert set(asked) == {champion}
        ends.set()
        await long
        while sum(record.theirs is not None for record in sent) + lost < WAITING + 5:
            await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(scene(), 300))
    # One was in the runner's hands while the others queued.
    assert lost == 4
    assert asked.count(challenger) == WAITING + 1


def test_other_checks_and_other_expressions_are_not_compared(models: list[Model], tmp_path: Path) -> None:
    champion, challenger = models
    other = replace(challenger, check="other")
    bundle = make_bundle(tmp_path / "fewer", expressions=EXPRESSIONS[:2])
    fewer = replace(challenger, editor=ExpressionEditor(bundle, self_check=True))
    for model, words in ((other, "checked by other networks"), (fewer, "other expressions")):
        with served(champion, model, share=1, shadow=1) as (client, sent):
            assert client.expressions(png(face()), ["happy"], aligned=True).model.version == 4
            found = client.comparison()
            assert words in found.incomparable
            assert not found.shadow
            assert not sent
            shown = CliRunner().invoke(commands, ["compare", "visage-ucgan", "--url", client._url])
            assert words in shown.output


@pytest.mark.slow
def test_compare_shows_the_difference_its_interval_and_what_it_rests_on(models: list[Model]) -> None:
    def show(name: str = "visage-ucgan") -> Any:
        return CliRunner().invoke(commands, ["compare", name, "--url", client._url])

    with served(*models, shadow=1) as (client, sent):
        assert "no requests yet" in show().output
        for seed in range(REQUESTS):
            client.expressions(png(face(seed)), ["happy"], aligned=True)
            if seed == 5:
                until(lambda: sent)
                assert "too few requests" in show().output
        until(lambda: len(sent) == REQUESTS)
        until(lambda: client.comparison().shadow["identity_similarity"].champion_requests == REQUESTS)
        text = show().output
        assert f"{REQUESTS} requests" in text
        assert "visage-ucgan/3" in text
        assert "visage-ucgan/4" in text
        found = client.comparison().shadow["identity_similarity"]
        assert found.difference is not None
        mean = sum(record.theirs[0] - record.ours[0] for record in sent) / REQUESTS
        assert found.difference.value == pytest.approx(mean, abs=1e-6)
        assert found.difference.low <= mean <= found.difference.high
        assert f"{mean:+.3f} [{found.difference.low:+.3f}, {found.difference.high:+.3f}]" in text
        assert found.verdict.split()[0] in text
        assert "visage-other" in str(show("visage-other").exception)


def test_records_are_those_of_the_two_models_that_are_there_now() -> None:
    async def scene() -> None:
        records = Records()
        await records.add([Record("a/1", "a/2", (0.5, 0.5), (0.6, 0.4))], skipped=3)
        await records.add([Record("a/2", "a/3", (0.1, 0.1), (0.2, 0.2))])
        found = await records.compared("a/1", "a/2")
        assert found["shadow"]["identity_similarity"]["champion"] == 0.5
        assert found["shadow"]["expression_confidence"]["challenger"] == 0.4
        assert found["skipped"] == 3
        assert (await records.compared("a/9", "a/2"))["shadow"]["identity_similarity"]["champion"] is None

    asyncio.run(scene())


def test_the_interval_is_drawn_again_only_after_a_new_record(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, draw = [], records.paired

    def counted(*values: Any) -> Any:
        drawn.append(len(values[0]))
        return draw(*values)

    monkeypatch.setattr(records, "paired", counted)

    async def scene() -> None:
        kept = Records()
        record = Record("a/1", "a/2", (0.5, 0.6), (0.6, 0.5))
        await kept.add([record] * 30)
        first, *others = await asyncio.gather(*(kept.compared("a/1", "a/2") for _ in range(5)))
        assert drawn == [30] * len(records.METRICS)
        assert others == [first] * 4
        await kept.add([], skipped=2)
        assert await kept.compared("a/1", "a/2") == {**first, "skipped": 2}
        assert len(drawn) == len(records.METRICS)
        await kept.add([record])
        await kept.compared("a/1", "a/2")
        assert drawn[-1] == 31

    asyncio.run(scene())
