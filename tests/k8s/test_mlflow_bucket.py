"""The bucket of MLflow's server is not there, goes away, or refuses the keys: one sentence, and going on afterwards."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from mlflow import MlflowClient
from test_cli import ROOT, assert_one_sentence, visage

from k8s.servers import Server, mlflow, objects, postgres
from serve_app.ingress import free_ports
from tests.search.fakes import SPACE
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.registry.models import Registry

pytestmark = [pytest.mark.soak, pytest.mark.ray, pytest.mark.timeout(1800)]
KEY, GUEST, BUCKET = "of-the-tests", "guest", "made-later"
Judged = tuple[FaceSet, FaceNetworks]


class Place:
    """MLflow's server, whose keys may make no bucket, the store's own client, and a user's folder."""

    def __init__(self, folder: Path, store: Any, port: int, faces: Path) -> None:
        self.folder, self.store, self.uri = folder, store, f"http://127.0.0.1:{port}"
        settings = {
            "data": {"dir": str(faces)},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 1600, "batch": 8, "evaluate_every": 160, "evaluate_pairs": 8},
            "judge": {"images": 4_000, "bootstrap": 100},
            "search": {"name": "short", "trials": 1, "space": SPACE},
        }
        (folder / "short.yaml").write_text(yaml.safe_dump(settings))

    def visage(self, *words: str) -> subprocess.CompletedProcess[str]:
        # The server itself asks the store several times before it says no.
        return visage(*words, folder=self.folder, seconds=900, MLFLOW_TRACKING_URI=self.uri)

    def remove(self) -> None:
        for each in self.store.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            self.store.delete_object(Bucket=BUCKET, Key=each["Key"])
        self.store.delete_bucket(Bucket=BUCKET)

    def statuses(self, kind: str) -> list[str]:
        client = MlflowClient(self.uri)
        home = client.get_experiment_by_name("visage")
        assert home
        found = client.search_runs([home.experiment_id], f"tags.`visage.kind` = '{kind}'", order_by=["start_time ASC"])
        return [run.info.status for run in found]


@pytest.fixture(scope="module")
def stores(open_folder: Path) -> Iterator[tuple[Path, int, dict[str, str]]]:
    folder = open_folder / "bucket"
    folder.mkdir()
    folder.chmod(0o755)
    with postgres(folder, KEY) as database, objects(folder, KEY, GUEST) as s3:
        yield folder, database, s3


def server(stores: tuple[Path, int, dict[str, str]], port: int, secret: str = KEY) -> Server:
    folder, database, s3 = stores
    keys = {"AWS_ACCESS_KEY_ID": GUEST, "AWS_SECRET_ACCESS_KEY": secret}
    return mlflow(folder, port, database, KEY, {**s3, **keys}, BUCKET)


@pytest.fixture
def place(stores: tuple[Path, int, dict[str, str]], judged: Judged, tmp_path: Path) -> Iterator[Place]:
    s3, [port] = stores[2], free_ports(1)
    keys = {"aws_access_key_id": s3["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": KEY}
    store = boto3.client("s3", endpoint_url=s3["AWS_ENDPOINT_URL"], region_name=s3["AWS_DEFAULT_REGION"], **keys)
    with server(stores, port):
        yield Place(tmp_path, store, port, judged[0].dir)


def test_a_study_without_a_bucket_says_so_and_begins_when_it_is_there(place: Place) -> None:
    begun = place.visage("tune", "short.yaml")
    assert_one_sentence(begun, f"s3://{BUCKET}: The specified bucket does not exist", "make that bucket")
    assert begun.stderr.endswith("; then go on with: visage tune short.yaml\n")
    assert place.statuses("study") == ["FAILED"]
    place.store.create_bucket(Bucket=BUCKET)
    done = place.visage("tune", "short.yaml")
    assert done.returncode == 0, done.stderr
    assert place.statuses("study") == ["FAILED", "FINISHED"]
    assert place.statuses("trial") == ["FINISHED"]
    assert [version.version for version in Registry(place.uri).list()] == [1]
    place.remove()


def test_a_training_whose_bucket_goes_away_goes_on_when_it_is_back(place: Place) -> None:
    place.store.create_bucket(Bucket=BUCKET)
    environment = {"PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", "MLFLOW_TRACKING_URI": place.uri, "PATH": "/usr/bin"}
    command = [sys.executable, "-m", "visage.cli", "train", "short.yaml"]
    begun = subprocess.Popen(command, cwd=place.folder, env=environment, stderr=subprocess.PIPE, text=True)
    while not list(place.folder.glob("runs/train/short/faces/*.png")):  # an evaluation
        assert begun.poll() is None
        time.sleep(0.05)
    place.remove()
    said = begun.communicate(timeout=900)[1]
    assert_one_sentence(subprocess.CompletedProcess(command, begun.returncode, "", said), "make that bucket")
    assert said.endswith("; then go on with: visage train short.yaml --resume\n")
    assert place.statuses("train") == ["FAILED"]
    place.store.create_bucket(Bucket=BUCKET)
    before = len(Registry(place.uri).list())
    done = place.visage("train", "short.yaml", "--resume")
    assert done.returncode == 0, done.stderr
    assert place.statuses("train") == ["FINISHED"]  # the same run
    assert len(Registry(place.uri).list()) == before + 1
    place.remove()


def test_keys_that_the_store_refuses(place: Place, stores: tuple[Path, int, dict[str, str]]) -> None:
    [port] = free_ports(1)
    with server(stores, port, "of-somebody-else"):
        place.uri = f"http://127.0.0.1:{port}"
        refused = place.visage("train", "short.yaml")
    assert_one_sentence(refused, "signature", "start the server with the keys of the store", "; then go on with: ")
