"""Who may call: keys, limits and other addresses' pages. The application alone, without Ray."""

import asyncio
import hashlib
import secrets
import timeit
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from serve_app import api_keys as keys
from serve_app import app
from serve_app import rate_limit as rates
from serve_app.api_keys import Keys, make_key
from serve_app.middleware import OPEN_PATHS, Around
from serve_app.problems import Problem
from serve_app.rate_limit import Rates, SharedLimiter, Standing
from tests.serve_app.samples import face, png
from tests.serve_app.test_faults import problem_of
from visage.config import Serving, validated
from visage.config.serving import Rate
from visage.errors import UserError

Ask = Callable[..., httpx.Response]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret" / "keys"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_only_the_page_the_documentation_and_health_are_open(request_app: Ask, file: Path) -> None:
    make_key("anna", file)
    around = Around(keys=Keys(file))
    for path in [*sorted(OPEN_PATHS), "/page/page.js", "/page/samples/0.png?size=32", "/docs/assets/swagger-ui.css"]:
        assert request_app("GET", path, around=around).status_code == 200, path
    files = {"image": ("face.png", png(face()))}
    answer = request_app("POST", "/v1/expressions", files=files, around=around)
    detail = problem_of(answer, 401)
    assert "Authorization: Bearer KEY" in detail
    assert "VISAGE_API_KEY" in detail
    assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/model", "/nothing", "//v1/model", "/v1/model/", "/healthz/", "/page", "/V1/model", "/v1%2Fmodel"):
        problem_of(request_app("GET", path, around=around), 401)
    for path in ("/page/../v1/model", "/page/%2e%2e/v1/model", "/docs/assets/../../v1/model"):
        assert request_app("GET", path, around=around).status_code in (401, 404)
    # And without keys the same routes answer, so that it was the key that was missing.
    assert request_app("GET", "/v1/model").status_code == 200


def test_each_key_opens_and_nothing_else_does(request_app: Ask, file: Path) -> None:
    anna, line = make_key("anna", file)
    ben, _ = make_key("ben", file)
    around = Around(keys=Keys(file))
    for key in (anna, ben):
        assert request_app("GET", "/v1/model", headers=bearer(key), around=around).status_code == 200
    assert request_app("GET", "/v1/model", headers={"Authorization": f"bearer  {anna}"}, around=around).is_success
    for wrong in (
        {"Authorization": anna},
        {"Authorization": f"Basic {anna}"},
        {"X-Api-Key": anna},
        bearer(""),
        bearer(anna[:-1]),
        bearer(anna + "x"),
        bearer(line.split()[1]),  # who reads the file has no key
        {"Authorization": "Bearer schlüssel".encode()},
    ):
        answer = request_app("GET", "/v1/model", headers=wrong, around=around)
        problem_of(answer, 401)
        assert anna not in answer.text


def test_the_file_holds_hashes_for_its_owner_alone(file: Path) -> None:
    key, line = make_key("anna", file)
    assert file.read_text() == line + "\n"
    assert line == f"anna {hashlib.sha256(key.encode()).hexdigest()}"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len({make_key("ben", None)[0] for _ in range(50)}) == 50
    file.write_text(line)  # an editor that leaves out the last end of line
    second, _ = make_key("ben", file)
    assert Keys(file).name_of(f"Bearer {key}") == "anna"
    assert Keys(file).name_of(f"Bearer {second}") == "ben"


def test_keys_come_and_go_while_the_endpoint_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "LOOK_SECONDS", 0)
    anna, line = make_key("anna", file)
    known = Keys(file)
    ben, _ = make_key("ben", file)
    assert known.name_of(f"Bearer {ben}") == "ben"
    file.write_text("spoilt")
    assert known.name_of(f"Bearer {ben}") == "ben"
    file.write_text(f"# Ben has left\n\n{line}  # until spring\n")
    assert known.name_of(f"Bearer {ben}") is None
    assert known.name_of(f"Bearer {anna}") == "anna"
    file.write_text("")
    assert known.name_of(f"Bearer {anna}") is None
    file.unlink()
    assert known.name_of(f"Bearer {anna}") is None


def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    (anna, one), (ben, two) = make_key("anna", None), make_key("ben", None)
    for between in (",", "\n"):
        monkeypatch.setenv("VISAGE_KEYS", one + between + two)
        assert [Keys(None).name_of(f"Bearer {key}") for key in (anna, ben, "else")] == ["anna", "ben", None]


def test_what_cannot_be_keys_is_one_sentence_that_does_not_repeat_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VISAGE_KEYS", raising=False)
    with pytest.raises(UserError, match=r"VISAGE_KEYS: holds no API key.*access.required=false"):
        Keys(None)
    with pytest.raises(UserError, match=r"access.keys = .*keys: cannot be read .*visage key"):
        Keys(file)
    key, line = make_key("anna", file)
    for bad in (f"anna {key}", key, f"anna {line.split()[1]} more", f"an/na {line.split()[1]}", line.upper()):
        file.write_text(f"{line}\n{bad}\n")
        with pytest.raises(UserError, match=r"line 2 is not NAME SHA256") as fault:
            Keys(file)
        assert key not in str(fault.value)
    with pytest.raises(UserError, match="choose another"):
        make_key("an na", file)


def test_the_command_makes_a_key_that_opens(file: Path, request_app: Ask) -> None:
    from visage.cli import app as commands

    said = CliRunner().invoke(commands, ["key", "anna", "--keys", str(file)]).output
    key = said.split()[1]
    assert key not in file.read_text()
    around = Around(keys=Keys(file))
    assert request_app("GET", "/v1/model", headers=bearer(key), around=around).status_code == 200
    said = CliRunner().invoke(commands, ["key", "ben"]).output
    assert f"ben {hashlib.sha256(said.split()[1].encode()).hexdigest()}" in said


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.7"])
def test_without_keys_it_is_bound_to_this_machine(host: str) -> None:
    with pytest.raises(UserError, match=f"host {host} can be reached from elsewhere"):
        validated(Serving, {"host": host, "access": {"required": False}}, "test")
    assert validated(Serving, {"host": host}, "test").access.required
    with pytest.raises(UserError, match="no IPv4 address"):
        validated(Serving, {"host": "localhost"}, "test")
    with pytest.raises(UserError, match="keys secret are given while required is false"):
        validated(Serving, {"access": {"required": False, "keys": "secret"}}, "test")


def test_the_endpoint_does_not_start_without_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISAGE_KEYS", raising=False)
    monkeypatch.setattr(app, "_run", None)
    for tree in ({}, {"host": "0.0.0.0"}, {"access": {"keys": str(tmp_path / "none")}}):
        with pytest.raises(UserError, match=r"holds no API key|cannot be read") as fault:
            app.serve(validated(Serving, {**tree, "tracking_uri": f"sqlite:///{tmp_path}/m.db"}, "test"), block=False)
        assert str(fault.value).endswith(".")


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    buckets = Rates(Rate(per_minute=60, burst=3))
    assert [buckets.count("anna", 0.0).wait for _ in range(4)] == [0, 0, 0, 1]
    assert buckets.count("ben", 0.0).wait == 0  # a bucket each
    assert buckets.count("anna", 0.5).wait == 0.5  # what was refused has cost nothing
    assert buckets.count("anna", 1.0).wait == 0
    assert buckets.count("anna", 1.0).wait == 1
    assert [buckets.count("anna", 100.0).wait for _ in range(4)] == [0, 0, 0, 1]  # rest saves up no more than the burst


@given(
    st.builds(Rate, per_minute=st.floats(1, 6000), burst=st.integers(1, 50)),
    st.lists(st.floats(0, 5), min_size=1, max_size=80),
)
def test_what_a_key_is_told_is_left_can_be_sent_at_once(rate: Rate, pauses: list[float]) -> None:
    buckets, now = Rates(rate), 0.0
    for pause in pauses:
        now += pause
        told = buckets.count("anna", now)
        assert 0 <= told.left < rate.burst or rate.burst == 1
        assert told.left <= rate.burst
        other = Rates(rate)
        other._due = dict(buckets._due)
        assert [other.count("anna", now).wait > 0 for _ in range(told.left + 1)] == [False] * told.left + [True]
        rested = Rates(rate)
        rested._due = dict(buckets._due)
        assert rested.count("anna", now + told.whole + 1e-6).left == rate.burst - 1


def test_too_often_is_a_429_for_that_key_alone(request_app: Ask, file: Path) -> None:
    anna, ben = make_key("anna", file)[0], make_key("ben", file)[0]

    class Count:
        buckets = Rates(Rate(per_minute=6, burst=2))

        async def count(self, name: str) -> Standing:
            return self.buckets.count(name, 0.0)

    around = Around(keys=Keys(file), limiter=Count())

    def ask(key: str, path: str = "/v1/model") -> httpx.Response:
        return request_app("GET", path, headers=bearer(key), around=around)

    def told(answer: httpx.Response) -> tuple[int, str | None, str | None]:
        return answer.status_code, answer.headers.get("ratelimit-policy"), answer.headers.get("ratelimit")

    policy = '"key";q=2;w=20'
    assert [told(ask(anna)) for _ in range(3)] == [
        (200, policy, '"key";r=1;t=10'), (200, policy, '"key";r=0;t=20'), (429, policy, '"key";r=0;t=20'),
    ]  # fmt: skip
    problem_of(answer := ask(anna), 429)
    assert answer.headers["retry-after"] == "10"
    assert told(ask(ben, "/nothing")) == (404, policy, '"key";r=1;t=10')
    assert told(ask("wrong")) == (401, None, None)
    assert all(told(ask(anna, "/healthz")) == (200, None, None) for _ in range(9))
    operation = request_app("GET", "/openapi.json", around=around).json()["paths"]["/v1/model"]["get"]
    assert set(operation["responses"]["200"]["headers"]) == {"RateLimit", "RateLimit-Policy"}
    assert "RateLimit" in operation["responses"]["429"]["headers"]


class Counting:
    """A deployment's handle whose count answers with `found`, or not at all."""

    def __init__(self, found: Callable[[], Awaitable[float]]) -> None:
        self.take, self.remote, self._found, self.asked = self, self._ask, found, 0

    async def _ask(self, name: str) -> float:
        self.asked += 1
        return await self._found()


@pytest.mark.slow
def test_an_overloaded_count_refuses_soon_and_then_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a flood neither waits for long nor gets through uncounted."""
    monkeypatch.setattr(rates, "PATIENCE_SECONDS", 2.0)

    async def flood() -> None:
        handle = Counting(asyncio.Event().wait)  # type: ignore[arg-type]  # it never comes
        limiter = SharedLimiter(handle)
        waiting = [asyncio.create_task(limiter.count("anna")) for _ in range(rates.AWAITED)]
        while handle.asked < rates.AWAITED:
            await asyncio.sleep(0)
        for _ in range(100):
            with pytest.raises(Problem) as refused:
                await limiter.count("ben")
            assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        assert handle.asked == rates.AWAITED
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert {getattr(each, "status", each) for each in found} == {503}
        with pytest.raises(Problem):  # and not for ever: it is asked again
            await limiter.count("ben")
        assert handle.asked == rates.AWAITED + 1

    asyncio.run(flood())


def test_a_count_that_fails_stops_nobody() -> None:
    async def fail() -> float:
        raise RuntimeError("its process is gone")

    assert asyncio.run(SharedLimiter(Counting(fail)).count("anna")) is None


def test_ten_thousand_keys_cost_no_more_than_one(file: Path) -> None:
    def seconds(keys: Keys) -> float:
        return min(timeit.repeat(lambda: keys.name_of(f"Bearer {key}"), number=20, repeat=20))

    key, _ = make_key("anna", file)
    one = seconds(Keys(file))
    with file.open("a") as lines:
        lines.writelines(f"key-{number} {secrets.token_hex(32)}\n" for number in range(10_000))
    many = Keys(file)
    assert many.name_of(f"Bearer {key}") == "anna"
    assert seconds(many) < 5 * one


def test_other_addresses_pages_are_shut_out_unless_named(request_app: Ask, file: Path) -> None:
    make_key("anna", file)
    there, elsewhere = "https://app.example.org", "https://evil.example.org"
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    def allowed(origin: str, around: Around, method: str = "OPTIONS") -> tuple[int, str | None]:
        headers = {"Origin": origin, **(preflight if method == "OPTIONS" else {})}
        answer = request_app(method, "/v1/expressions", headers=headers, around=around)
        return answer.status_code, answer.headers.get("access-control-allow-origin")

    assert allowed(there, Around())[1] is None
    assert allowed(there, Around(keys=Keys(file))) == (401, None)
    named = Around(keys=Keys(file), origins=(there,))
    assert allowed(there, named) == (200, there)
    assert allowed(elsewhere, named) == (400, None)
    # A refusal can be read by the page that is let in, to say what it is.
    assert allowed(there, named, "POST") == (401, there)
    assert allowed(elsewhere, named, "POST") == (401, None)
    for bad in ("*", "https://example.org/", "example.org", "null"):
        with pytest.raises(UserError, match="is no origin"):
            validated(Serving, {"access": {"origins": [bad]}}, "test")


def test_the_document_has_a_place_for_the_key(request_app: Ask, file: Path) -> None:
    make_key("anna", file)
    document: Any = request_app("GET", "/openapi.json", around=Around(keys=Keys(file))).json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    operation = document["paths"]["/v1/expressions"]["post"]
    assert operation["security"] == [{"key": []}]
    assert {"401", "429"} <= set(operation["responses"])
    assert "security" not in document["paths"]["/healthz"]["get"]
    assert "securitySchemes" not in request_app("GET", "/openapi.json").json()["components"]
