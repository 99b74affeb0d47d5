"""What an operator sees of a running endpoint of two replicas: metrics, log, limits; drift and its alert."""

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from serve_app.metrics import QUANTILES, ranks
from tests.browser import chromium, opened_browser
from tests.serve_app.samples import EXPRESSIONS, face, make_bundle, png

MONITORING = Path(__file__).parents[2] / "k8s" / "monitoring"
DASHBOARD, RULES = MONITORING / "dashboard.json", MONITORING / "rules.yaml"
# As if likeness had been higher when the model was registered than any can be, and confidence lower.
REFERENCE = {
    "identity_similarity": dict(zip(map(str, QUANTILES), (2.0, 2.1, 2.2, 2.3, 2.4), strict=True)),
    "expression_confidence": dict(zip(map(str, QUANTILES), (-0.5, -0.4, -0.3, -0.2, -0.1), strict=True)),
}
BURST = 30
Sample = tuple[dict[str, str], float]


@dataclass(frozen=True)
class Running:
    url: str
    keys: dict[str, str]
    logs: Path
    folder: Path

    def headers(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[name]}"}

    def edit(self, name: str, content: bytes, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        form = {"aligned": "true", **fields}
        both = self.headers(name) | (headers or {})
        return httpx.post(f"{self.url}/v1/expressions", headers=both, files={"image": content}, data=form, timeout=300)


@pytest.fixture(scope="module")
def running(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    import ray

    from serve_app import app
    from serve_app.api_keys import make_key
    from serve_app.ingress import free_ports
    from visage.config import Serving, validated

    folder = tmp_path_factory.mktemp("monitoring")
    make_bundle(folder / "bundle", self_check=REFERENCE)
    keys = {name: make_key(name, folder / "keys")[0] for name in ("anna", "ben", "carl")}
    tree = {
        "model": str(folder / "bundle"),
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "port": free_ports(1)[0],
        "replicas": {"min": 2, "max": 2, "num_cpus": 0.5},
        "access": {"keys": str(folder / "keys"), "rate": {"per_minute": 0.01, "burst": BURST}},
    }
    url = app.serve(validated(Serving, tree, "test"), block=False)
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())
    yield Running(url, keys, logs, folder)
    app.stop()


def scrape() -> dict[str, list[Sample]]:
    """Every sample that this node exports, by its name."""
    import ray
    from prometheus_client.parser import text_string_to_metric_families

    [node] = ray.nodes()
    text = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=60).text
    found: dict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name].append((dict(sample.labels), sample.value))
    return found


def total(samples: list[Sample], **labels: str) -> float:
    return sum(value for found, value in samples if labels.items() <= found.items())


def of_this_endpoint(found: dict[str, list[Sample]]) -> dict[str, list[Sample]]:
    """The samples of the replicas that answer now: counters outlive theirs, and others ran in this Ray before."""
    ready = {labels["replica"] for labels, value in found["ray_visage_model_ready"] if value}
    return defaultdict(
        list,
        {name: [(labels, v) for labels, v in some if labels.get("replica") in ready] for name, some in found.items()},
    )


def when(condition: Callable[[dict[str, list[Sample]]], bool]) -> dict[str, list[Sample]]:
    """What is exported once the condition holds: Ray exports every few seconds."""
    deadline = time.monotonic() + 240
    while not condition(found := scrape()):
        assert time.monotonic() < deadline, {name: found[name] for name in found if "visage" in name}
        time.sleep(1)
    return found


@pytest.mark.serve
@pytest.mark.soak
def test_a_limit_is_shared_by_the_replicas(running: Running) -> None:
    answers = [httpx.get(f"{running.url}/v1/model", headers=running.headers("carl"), timeout=300) for _ in range(40)]
    assert sorted(answer.status_code for answer in answers) == [200] * BURST + [429] * (40 - BURST)
    assert int(answers[-1].headers["retry-after"]) > 60
    left = [int(re.findall(r"r=(\d+)", answer.headers["ratelimit"])[0]) for answer in answers]
    assert left[:2] + left[BURST - 1 :] == [BURST - 1, BURST - 2] + [0] * (41 - BURST)
    found = when(lambda found: total(found["ray_visage_requests_total"], caller="carl") == 40)
    replicas = {labels["replica"] for labels, _ in found["ray_visage_requests_total"] if labels["caller"] == "carl"}
    assert len(replicas) == 2
    assert running.edit("ben", png(face())).status_code == 200


@pytest.mark.serve
@pytest.mark.soak
def test_requests_faces_and_the_self_check_are_counted(running: Running) -> None:
    for _ in range(3):
        assert running.edit("anna", png(face())).status_code == 200
    assert running.edit("anna", b"no picture").status_code == 400
    assert running.edit("anna", png(face()), expression="happy", intensity="0.5").status_code == 200
    assert httpx.get(f"{running.url}/nothing", headers=running.headers("anna"), timeout=300).status_code == 404
    assert httpx.get(f"{running.url}/v1/model", timeout=300).status_code == 401
    name = "ray_visage_requests_total"
    found = when(
        lambda found: (
            total(found[name], caller="anna") == 6
            and total(found[name], status="401") == 1
            and total(found["ray_visage_model_ready"]) == 2
            and total(found["ray_visage_requests_in_progress"]) == 0
        )
    )
    found = of_this_endpoint(found)
    assert total(found[name], caller="anna", path="/v1/expressions", status="200") == 4
    assert total(found[name], caller="anna", path="/v1/expressions", status="400") == 1
    assert total(found[name], caller="anna", path="other", status="404") == 1
    assert total(found["ray_visage_model_ready"]) == 2
    assert total(found["ray_visage_model_loads_total"]) == 2
    assert total(found["ray_visage_model_refused"]) == 0
    assert total(found["ray_visage_requests_in_progress"]) == 0
    faces = total(found["ray_visage_faces_total"])
    assert faces >= 3 * len(EXPRESSIONS) + 1
    for check, low in (("identity_similarity", True), ("expression_confidence", False)):
        assert total(found["ray_visage_self_check_count"], check=check) == faces
        # Those of full intensity alone are compared with registration's.
        ranked = total(found["ray_visage_self_check_rank_count"], check=check)
        assert ranked == faces - 1
        below = total(found["ray_visage_self_check_rank_bucket"], check=check, le="0.05")
        assert below == (ranked if low else 0)
        median = REFERENCE[check]["0.5"]
        shown = [v for labels, v in found["ray_visage_self_check_reference"] if labels["check"] == check]
        assert median in shown


@pytest.mark.serve
@pytest.mark.soak
def test_dashboard_and_rules_ask_for_what_is_exported(running: Running) -> None:
    assert running.edit("anna", png(face())).status_code == 200
    exported = when(lambda found: bool(found["ray_visage_self_check_rank_bucket"]))
    rules = [rule for group in yaml.safe_load(RULES.read_text())["spec"]["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel["targets"]]
    asked = [selector for query in (*queries, *(rule["expr"] for rule in rules)) for selector in selectors(query)]
    assert len(asked) > 40
    for name, matchers in asked:
        # A counter is exported from the first time on that it counts, and nothing is refused here.
        assert name in exported or name in recorded or name == "ray_visage_model_refusals_total", name
        for label, operator, value in matchers if name in exported else ():
            values = {labels.get(label) for labels, _ in exported[name]}
            assert values - {None}, (name, label)
            # Statuses come as they come; what else is asked for by its value is there.
            assert operator != "=" or label == "status" or value in values, (name, label, value)
    for _, matchers in (each for each in asked if each[0] == "visage:self_check_rank:share6h"):
        there = {labels["le"] for labels, _ in exported["ray_visage_self_check_rank_bucket"]}
        assert all(value in there for _, _, value in matchers)
    # And every metric of the endpoint is looked at by somebody.
    ours = {re.sub("_(bucket|count|sum)$", "", name) for name in exported if name.startswith("ray_visage_")}
    seen = {re.sub("_(bucket|count|sum)$", "", name) for name, _ in asked if name.startswith("ray_visage_")}
    assert ours == seen - {"ray_visage_model_refusals_total"}


def selectors(query: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Name and matchers of each selector in a query."""
    import promql_parser

    found: list[tuple[str, list[tuple[str, str, str]]]] = []
    symbols = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}

    def look(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = [(each.name, symbols[str(each.op)], each.value) for each in node.matchers.matchers]
            found.append((node.name, matchers))
        elif isinstance(node, promql_parser.MatrixSelector):
            look(node.vector_selector)
        return True

    promql_parser.walk(promql_parser.parse(query), look)
    return found


@pytest.mark.serve
@pytest.mark.soak
def test_an_answers_id_is_in_the_log(running: Running) -> None:
    given = {"X-Request-Id": "of-this-test.1"}
    answer = running.edit("anna", png(face()), given)
    # One header, though Ray Serve sets it too.
    assert answer.headers.get_list("x-request-id") == ["of-this-test.1"]
    malformed = httpx.get(f"{running.url}/healthz", headers={"X-Request-Id": "<b>"}, timeout=300)
    assert len(malformed.headers.get_list("x-request-id")) == 1
    assert "<" not in malformed.headers["x-request-id"]
    deadline = time.monotonic() + 60
    while not (lines := [line for line in written(running) if line.get("request_id") == "of-this-test.1"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    [line] = lines
    assert (line["message"], line["path"], line["status"], line["caller"]) == (
        "request",
        "/v1/expressions",
        200,
        "anna",
    )


def written(running: Running) -> list[dict[str, Any]]:
    """Every line of the replicas' logs, each of which must be JSON."""
    files = list((running.logs / "serve").glob("replica_visage_Endpoint_*.log"))
    assert files
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.mark.serve
@pytest.mark.soak
def test_no_photograph_is_in_a_file_of_ray_or_in_its_log(running: Running, tmp_path: Path) -> None:
    noise = png(np.random.default_rng(7).integers(0, 256, (900, 900, 3), np.uint8))
    parts = [noise[place : place + 64] for place in (1_000, len(noise) // 2, len(noise) - 1_000)]
    for _ in range(3):
        assert running.edit("anna", noise, view="photo", expression="happy").status_code == 200
    assert running.edit("anna", noise[: len(noise) // 2]).status_code == 400

    def holders(folder: Path) -> list[Path]:
        files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
        return [file for file in files if any(part in file.read_bytes() for part in parts)]

    (tmp_path / "seen").write_bytes(b"before" + noise)
    assert holders(tmp_path) == [tmp_path / "seen"]  # so that one would be found
    assert len(list(running.logs.parent.rglob("*"))) > 20
    assert holders(running.logs.parent) == []


@pytest.mark.serve
@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason="no Chromium here")
def test_the_page_asks_for_a_key_and_works_with_it(running: Running) -> None:
    with opened_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(running.url)
        for key, shown in (("wrong", "#fault:not(:empty)"), (running.keys["anna"], "#samples button")):
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            page.locator(shown).first.wait_for()
        page.locator("#samples button").first.click()
        page.locator("#grid button[aria-pressed=true]").wait_for()
        assert page.locator("#fault").inner_text() == ""


def test_ranks_are_even_where_nothing_has_changed() -> None:
    values = np.random.default_rng(0).beta(5, 2, 20_000)
    found = ranks(values, list(np.quantile(values, QUANTILES)))
    for quantile in QUANTILES:
        assert abs((found <= quantile).mean() - quantile) < 0.01
    assert (ranks(values - 1, list(np.quantile(values, QUANTILES))) <= 0.05).all()
    # A check that was always sure and still is has not drifted, in bfloat16 neither.
    assert (ranks(np.array([1.0, 0.9998]), [1.0] * 5) == 0.5).all()
    assert (ranks(np.array([0.7]), [1.0] * 5) <= 0.05).all()
