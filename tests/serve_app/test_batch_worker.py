"""/v1/batches on a real Ray Serve behind HAProxy: what is sent slowly, and what survives the death of its processes."""

import io
import os
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app import app
from serve_app.ingress import free_ports, haproxy_available
from tests.faces.photos import face, photograph
from tests.serve_app.samples import make_bundle, png
from visage.client import Client, ClientError
from visage.config import Serving, validated

pytestmark = [
    pytest.mark.serve,
    pytest.mark.slow,
    pytest.mark.skipif(not haproxy_available(), reason="of the ingress that is used"),
]
PHOTOGRAPHS, PATIENCE = 200, 240


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("batches")


@pytest.fixture(scope="module")
def url(local_ray: None, folder: Path) -> Iterator[str]:
    make_bundle(folder / "bundle")
    tree = {
        "model": str(folder / "bundle"),
        "tracking_uri": f"sqlite:///{folder}/mlflow.db",
        "port": free_ports(1)[0],
        "replicas": {"min": 1, "max": 1},
        "limits": {"upload_seconds": 2},
        "access": {"required": False},
        "batches": {"dir": str(folder / "batches"), "num_cpus": 1},
    }
    yield app.serve(validated(Serving, tree, "test"), block=False)
    app.stop()


def processes(deployment: str) -> set[int]:
    from ray.serve.context import _get_global_client

    deployments = _get_global_client().get_serve_details()["applications"]["visage"]["deployments"]
    return {each["pid"] for each in deployments[deployment]["replicas"] if each["state"] == "RUNNING"}


@pytest.fixture(scope="module")
def sent(folder: Path) -> Path:
    pictures = [png(photograph(face(person, "neutral"))) for person in range(3)]
    path = folder / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(PHOTOGRAPHS):
            archive.writestr(f"{number:03d}.png", pictures[number % 3])
    return path


def test_the_death_of_its_processes_loses_nothing(url: str, folder: Path, sent: Path) -> None:
    with Client(url, patience=PATIENCE) as client:
        batch, killed = client.send_batch(sent, "happy", key="once"), set[int]()
        deadline = time.monotonic() + 2 * PATIENCE
        while batch.state != "done":
            assert time.monotonic() < deadline, batch
            if not killed and batch.done:
                killed = processes("Worker") | processes("Endpoint")
                assert len(killed) == 2
                for pid in killed:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.2)
            before, batch = batch, client.batch(batch.id)
            assert batch.done >= before.done
        assert killed
        assert not killed & (processes("Worker") | processes("Endpoint"))
        assert (batch.done, batch.failed) == (PHOTOGRAPHS, 0)
        with zipfile.ZipFile(client.batch_result(batch.id, folder / "pictures.zip")) as archive:
            assert archive.testzip() is None
            assert len(set(archive.namelist())) == PHOTOGRAPHS
        assert client.send_batch(sent, "happy", key="once").id == batch.id


def test_a_refusal_comes_through_before_a_large_body_has_arrived(url: str, folder: Path) -> None:
    (folder / "large.zip").write_bytes(os.urandom(60_000_000))
    with Client(url, patience=0) as client, pytest.raises(ClientError, match="expression smug") as refused:
        client.send_batch(folder / "large.zip", "smug")
    assert refused.value.status == 422


def test_a_batch_may_arrive_more_slowly_than_a_picture(url: str, sent: Path) -> None:
    """HAProxy has its own limit of time for the beginning of a body, and the routes one for a picture's."""
    import httpx

    content = sent.read_bytes()
    size = len(content) // 8 + 1

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]
            time.sleep(1)

    headers = {"Content-Type": "application/zip", "Content-Length": str(len(content))}
    answer = httpx.post(f"{url}/v1/batches?expression=happy", content=slowly(), headers=headers, timeout=60)
    assert answer.status_code == 202, answer.text
    path = f"{url}{answer.headers['location']}"
    assert httpx.get(path).json()["photographs"] == PHOTOGRAPHS
    assert httpx.delete(path).status_code == 204
    assert io.BytesIO(httpx.get(path).content).read(1) == b"{"
