import json
import socket
import urllib.request

import pytest
from typer.testing import CliRunner

from serve_app.ingress import free_ports
from tests.browser import chromium, opened_browser
from visage.cli import app
from visage.errors import UserError
from visage.registry.tracking import Tracking
from visage.registry.ui import pages, views

pytestmark = pytest.mark.slow


def told(server: str) -> str:
    done = CliRunner().invoke(app, ["ui", "--registry", server])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_pages_show_the_store_and_end_with_the_block(empty_store: str):
    tracking = Tracking(empty_store, "visage")
    tracking.start_run("one")
    port = free_ports(1)[0]
    with pages(empty_store, port) as (url, process):
        assert told(url) == f"{url}: holds no training and no study yet.\n"
        tracking.show()
        assert told(url) == f"The runs by their score: {url}{views(url)[0]}\n"
        assert b"MLflow" in urllib.request.urlopen(url, timeout=30).read()
        query = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=visage"
        assert json.load(urllib.request.urlopen(query, timeout=30))["experiment"]["name"] == "visage"
    assert process.poll() is not None
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_port_in_use(store: str):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: is in use"), pages(store, port):
            pass


def test_a_server_has_pages_of_its_own():
    with pytest.raises(UserError, match="open that address"), pages("http://mlflow.example:5000", 5000):
        pass


def test_a_view_keeps_what_earlier_studies_searched_behind_what_this_one_does(store: str) -> None:
    tracking = Tracking(store, "visage")
    columns = []
    for searched in (["loss.pixel.weight", "optim.rate"], [], ["loss.triplet.margin", "optim.rate"]):
        tracking.show(searched)
        tags = tracking.client.get_experiment(tracking.experiment_id).tags
        kept = json.loads(tags["mlflow.sharedViewState.visage"])["selectedColumns"]
        columns.append([name[8:-1] for name in kept if name.startswith("params.")])
    assert columns[0] == columns[1] == ["loss.pixel.weight", "optim.rate"]
    assert columns[2] == ["loss.triplet.margin", "optim.rate", "loss.pixel.weight"]


@pytest.mark.parametrize("foreign", ["deflate;eJyrVkrLz1eyUkpKLFKqBQ", "[1]", '{"searched": 3}', "null"])
def test_a_view_that_is_not_ours_is_replaced(store: str, foreign: str) -> None:
    tracking = Tracking(store, "visage")
    tracking.client.set_experiment_tag(tracking.experiment_id, "mlflow.sharedViewState.visage", foreign)
    tracking.show(["optim.rate"])
    tags = tracking.client.get_experiment(tracking.experiment_id).tags
    assert "params.`optim.rate`" in json.loads(tags["mlflow.sharedViewState.visage"])["selectedColumns"]


@pytest.mark.browser
def test_the_pages_open_on_the_best_trial_and_what_was_searched(empty_store: str) -> None:
    if not chromium():
        pytest.skip("there is no Chromium")
    tracking = Tracking(empty_store, "visage")
    tracking.show(["loss.pixel.weight", "loss.triplet.margin"])
    study = tracking.start_run("mouths", tags={"visage.kind": "study", "visage.study": "mouths"})
    for number, (score, weight) in enumerate([(0.412, 12.5), (0.731, 87.25), (0.566, 40.0)]):
        run = tracking.start_run(
            f"mouths-{number:04d}",
            study.run_id,
            tags={"visage.kind": "trial", "visage.study": "mouths"},
            params={"loss": {"pixel": {"weight": weight}, "triplet": {"margin": 0.5}}, "optim": {"rate": 0.001}},
        )
        run.log({"score": score, "identity_similarity": 0.8, "expression_probability": 0.6}, 100)
        run.finish("complete")
    with pages(empty_store, free_ports(1)[0]) as (url, _), opened_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(url + views(empty_store)[0])
        page.get_by_text("87.25").first.wait_for(timeout=120_000)
        for _ in range(120):  # the table is drawn more than once
            places = [page.get_by_text(score).first.bounding_box() for score in ("0.731", "0.566", "0.412")]
            found = [(place["x"], place["y"]) for place in places if place]
            if len(found) == 3 and sorted(y for _, y in found) == [y for _, y in found]:
                break
            page.wait_for_timeout(500)
        assert len(found) == 3
        assert max(x for x, _ in found) < 950  # MLflow's assistant, which opens once by itself, hides none of them
        assert [y for _, y in found] == sorted(y for _, y in found)  # the best first
        assert found[-1][1] < 800
        headings = page.get_by_role("columnheader").all_inner_texts()
        assert "loss.pixel.weight" in headings
        assert "optim.rate" not in headings
