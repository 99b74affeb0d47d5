"""`make cluster`: a study on it gives a model that is served; what is stopped, lost or restored there goes on."""

import gc
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import psycopg
import pytest
from test_cli import ROOT, assert_one_sentence, visage
from test_docs import lines

from k8s.one_machine import Parts
from k8s.servers import BUCKET
from serve_app.ingress import free_ports
from visage.errors import UserError

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.timeout(2400)]

STUDY = """
data:
  dir: runs/faces
  layout: synthetic
  size: 32
  people: 120
  pictures: 1
  expressions: [neutral, happy, surprise]
method: {{width: 8, discriminator_width: 8}}
train: {{images: {images}, batch: 8, evaluate_every: {every}, evaluate_pairs: 16}}
judge: {{images: 2000, bootstrap: 200}}
search:
  name: {name}
  trials: 3
  scheduler: none
  space: {{loss.pixel.weight: {{log_uniform: [1, 200]}}}}
"""


def until(seen: Callable[[], bool], seconds: int = 600) -> None:
    for _ in range(seconds):
        if seen():
            return
        time.sleep(1)
    raise AssertionError("was not seen in time")


class User:
    """Somebody with a checkout, the cluster's addresses, its token and the database's password, and no shared disk."""

    def __init__(self, parts: Parts, folder: Path) -> None:
        self.parts, self.folder = parts, folder
        self.variables = {name: value for name, value in parts.environment.items() if name != "VISAGE_HOME"}
        self.home = Path(parts.environment["VISAGE_HOME"])
        self.studies: dict[str, Any] = {}  # each is opened once, as every opening holds a connection of the database

    def visage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return visage(*arguments, folder=self.folder, seconds=1200, **self.variables)

    def study(self, name: str, images: int, every: int) -> str:
        (self.folder / f"{name}.yaml").write_text(STUDY.format(name=name, images=images, every=every))
        return f"{name}.yaml"

    def submitted(self, *arguments: str) -> str:
        done = self.visage("submit", "tune", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition(":")[0]

    def state(self, job: str) -> str:
        return self.visage("jobs", "status", job).stdout.partition(": ")[2].partition(",")[0]

    def ended(self, name: str) -> list[str]:
        """The states of the study's trials that ended, by their numbers; none where there is no study yet."""
        from visage.search.study.records import counted, load_study

        address, password = self.variables["OPTUNA_STORAGE"], self.variables["PGPASSWORD"]
        if name not in self.studies:
            try:
                self.studies[name] = load_study(name, address.replace("visage@", f"visage:{password}@"))
            except UserError:
                gc.collect()
                return []
        return [str(trial.user_attrs["state"]) for trial in counted(self.studies[name])]

    def curves(self, name: str) -> list[list[int]]:
        """The steps of each trial's score in MLflow, sorted, by the trials' numbers."""
        from mlflow import MlflowClient

        client = MlflowClient(self.variables["MLFLOW_TRACKING_URI"])
        experiments = [each.experiment_id for each in client.search_experiments()]
        runs = client.search_runs(
            experiments,
            f"tags.`visage.kind` = 'trial' AND tags.`visage.study` = '{name}'",
            order_by=["tags.`visage.trial`"],
        )
        assert {run.data.tags["visage.state"] for run in runs} == {"complete"}
        return [sorted(point.step for point in client.get_metric_history(run.info.run_id, "score")) for run in runs]


@pytest.fixture(scope="module")
def user(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> User:
    return User(parts, tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def champion(user: User) -> str:
    """A study, submitted twice: the second goes on, and finds all done."""
    config = user.study("first", images=64, every=32)
    first, second = (user.visage("submit", "tune", config, "--wait") for _ in range(2))
    assert first.returncode == 0, first.stdout + first.stderr
    registered = re.search(r"registered as (visage-ucgan/\d+);", first.stdout)  # others may be there already
    assert registered, first.stdout
    model = registered[1]
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"is registered as {model} already" in second.stdout
    if f"{model} is now champion" not in first.stdout:  # so few steps may teach too little for the gate
        forced = user.visage("promote", model, "--force")
        assert f"{model} is now champion" in forced.stdout, forced.stderr
    return model


@pytest.mark.serve
def test_a_study_on_it_gives_a_champion_that_is_served(user: User, champion: str, tmp_path: Path) -> None:
    assert user.ended("first") == ["complete"] * 3
    client = boto3.client("s3", **_s3(user.parts))
    kept = [each["Key"] for each in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert any(key.endswith("bundle/generator.safetensors") for key in kept)
    assert not any(name.startswith("AWS_") for name in user.variables)  # so the server alone put it there

    [port] = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    environment["MLFLOW_TRACKING_URI"] = user.variables["MLFLOW_TRACKING_URI"]
    environment["PYTHONPATH"] = f"{ROOT / 'platform'}:{ROOT}"
    command = [sys.executable, "-m", "visage.cli", "serve", "--set", f"port={port}", "--set", "replicas.max=1"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment)
    at = f"http://127.0.0.1:{port}/v1"

    def answers() -> bool:
        assert process.poll() is None
        try:
            return httpx.get(f"{at}/model", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(answers)
        model = httpx.get(f"{at}/model", timeout=30).json()
        assert f"{model['name']}/{model['version']}" == champion
        face = next((user.home / "runs" / "faces" / "faces").glob("*_neutral*.png")).read_bytes()
        asked = {"expression": "happy", "aligned": "true"}
        accept = {"Accept": "image/png"}
        done = httpx.post(f"{at}/expressions", files={"image": face}, data=asked, headers=accept, timeout=60)
        assert done.status_code == 200, done.text
        assert done.headers["content-type"] == "image/png"
    finally:
        process.terminate()
        process.wait(120)


def test_the_drivers_are_on_nodes_and_not_on_the_head(user: User, champion: str) -> None:
    bearer = {"Authorization": f"Bearer {user.variables['RAY_AUTH_TOKEN']}"}
    asked = (httpx.get(f"{user.parts.job_server}/api/{what}", headers=bearer) for what in ("jobs/", "v0/nodes"))
    jobs, nodes = (answer.raise_for_status().json() for answer in asked)
    heads = {node["node_id"] for node in nodes["data"]["result"]["result"] if node["is_head_node"]}
    drivers = {job["driver_node_id"] for job in jobs if job["driver_node_id"]}
    assert heads
    assert drivers
    assert not heads & drivers


def ask_to_stop(user: User, job: str, config: str) -> None:
    assert "is asked to stop" in user.visage("jobs", "stop", job).stdout


def kill_driver(user: User, job: str, config: str) -> None:
    """As a preemption does."""
    processes = psutil.process_iter(["cmdline"])
    [driver] = [each for each in processes if {"jobs.run", "tune", config} <= {*(each.info["cmdline"] or ())}]
    driver.kill()


@pytest.mark.parametrize("end", [ask_to_stop, kill_driver])
def test_a_job_that_was_cut_off_goes_on_when_it_is_submitted_again(
    user: User, champion: str, end: Callable[[User, str, str], None]
) -> None:
    name = end.__name__.replace("_", "-")
    config = user.study(name, images=2400, every=240)
    job = user.submitted(config)
    until(lambda: len(user.ended(name)) > 0)
    end(user, job, config)
    until(lambda: user.state(job) in ("stopped", "failed"))
    if end is ask_to_stop:
        said = user.visage("jobs", "logs", job).stdout
        assert "which are kept" in said
        assert f"visage submit tune {config}" in said  # the command that goes on
    done = user.visage("submit", "tune", config, "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert user.ended(name) == ["complete"] * 3
    assert user.curves(name) == [list(range(240, 2401, 240))] * 3


def test_mlflow_is_away_for_a_minute_in_the_middle_of_a_study(user: User, champion: str) -> None:
    config = user.study("away", images=2400, every=240)
    job = user.submitted(config)
    until(lambda: len(user.ended("away")) > 0)
    user.parts.mlflow.stop()
    time.sleep(60)
    user.parts.mlflow.start()
    until(lambda: user.state(job) not in ("pending", "running"), 1200)
    assert user.state(job) == "succeeded", user.visage("jobs", "logs", job).stdout
    assert user.ended("away") == ["complete"] * 3
    assert user.curves("away") == [list(range(240, 2401, 240))] * 3


def test_a_node_that_is_silent_for_a_while_costs_nothing(user: User, champion: str) -> None:
    """As a network that comes back before Ray takes the node for dead, which is after more than a minute."""
    config = user.study("silent", images=2400, every=240)
    job = user.submitted(config)
    until(lambda: len(user.ended("silent")) > 0)
    node = psutil.Process(user.parts.nodes[0].process.pid)
    silent = [*node.children(recursive=True), node]
    for process in silent:
        process.suspend()
    time.sleep(20)
    for process in silent:
        with suppress(psutil.NoSuchProcess):  # idle ones are ended by whom they serve
            process.resume()
    until(lambda: user.state(job) not in ("pending", "running"), 1200)
    assert user.state(job) == "succeeded", user.visage("jobs", "logs", job).stdout
    assert user.ended("silent") == ["complete"] * 3
    assert user.curves("silent") == [list(range(240, 2401, 240))] * 3


def test_without_mlflow_a_job_says_so_in_one_sentence(user: User, champion: str) -> None:
    user.parts.mlflow.stop()
    try:
        done = user.visage("submit", "tune", user.study("first", images=64, every=32), "--wait")
    finally:
        user.parts.mlflow.start()
    assert_one_sentence(done, "failed", "its output says why")
    assert "no MLflow server answers" in done.stdout.splitlines()[-1]


def test_a_backup_by_the_pages_commands_brings_everything_back(user: User, champion: str, tmp_path: Path) -> None:
    page = [line for line in lines(ROOT / "docs" / "operate.md") if line.startswith(("pg_", "aws "))]
    backup = [line for line in page if line.startswith(("pg_dump", "aws s3 sync s3:"))]
    restore = [line for line in page if line not in backup]
    assert (len(backup), len(restore)) == (3, 3)
    if subprocess.run(["aws", "--version"], capture_output=True).returncode:
        pytest.skip("aws is not installed")

    def run(commands: list[str]) -> None:
        done = subprocess.run(
            ["bash", "-euc", "\n".join(commands)],
            cwd=tmp_path, env={**os.environ, **user.parts.stores}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def told() -> list[str]:
        data = str(user.home / "runs" / "faces")
        asked = (("models",), ("study", "first"), ("evaluate", "visage-ucgan@champion", "--data", data))
        found = [visage(*each, folder=tmp_path, seconds=1200, **user.variables) for each in asked]
        assert [each.returncode for each in found] == [0, 0, 0], [each.stderr for each in found]
        return [each.stdout for each in found]

    before = told()
    run(backup)
    user.parts.mlflow.stop()
    with psycopg.connect(user.variables["OPTUNA_STORAGE"].replace("/optuna", "/postgres"),
                         password=user.variables["PGPASSWORD"], autocommit=True) as connection:  # fmt: skip
        for name in ("mlflow", "optuna"):
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {name}")
    bucket = boto3.resource("s3", **_s3(user.parts)).Bucket(BUCKET)
    for each in bucket.objects.all():
        each.delete()
    assert not list(bucket.objects.all())
    run(restore)
    user.parts.mlflow.start()
    [cache] = tmp_path.glob("runs/cache")
    cache.rename(tmp_path / "fetched-before")
    assert told() == before


def _s3(parts: Parts) -> dict[str, str]:
    return {
        "endpoint_url": parts.stores["AWS_ENDPOINT_URL"],
        "region_name": parts.stores["AWS_DEFAULT_REGION"],
        "aws_access_key_id": parts.stores["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": parts.stores["AWS_SECRET_ACCESS_KEY"],
    }
