"""MLflow's server between its clients and the object store, whose keys it alone has; and runs without one between."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from k8s.servers import BUCKET, mlflow, objects, postgres
from serve_app.ingress import free_ports
from visage.errors import UserError
from visage.registry.tracking import RunLog, Tracking

pytestmark = pytest.mark.slow

KEY = "of-the-tests"


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Path:
    made = open_folder / "servers"
    made.mkdir()
    made.chmod(0o755)
    return made


@pytest.fixture(scope="module")
def s3(folder: Path) -> Iterator[dict[str, str]]:
    with objects(folder, KEY) as variables:
        yield variables


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[int]:
    with postgres(folder, KEY) as port:
        yield port


def test_files_go_through_the_server_to_the_bucket(
    folder: Path, database: int, s3: dict[str, str], tmp_path: Path
) -> None:
    [port] = free_ports(1)
    with mlflow(folder, port, database, KEY, s3):
        tracking = Tracking(f"http://127.0.0.1:{port}", "visage")
        run = tracking.start_run("one")
        run.picture(b"a picture", "faces/one.png")
        client = boto3.client(
            "s3",
            endpoint_url=s3["AWS_ENDPOINT_URL"],
            region_name=s3["AWS_DEFAULT_REGION"],
            aws_access_key_id=s3["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEY,
        )
        [kept] = client.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert kept["Key"].endswith(f"{run.run_id}/artifacts/faces/one.png")
        got = tracking.client.download_artifacts(run.run_id, "faces/one.png", str(tmp_path))
        assert Path(got).read_bytes() == b"a picture"
    said = (folder / "mlflow.log").read_text()
    assert "/mlflow-artifacts/artifacts/" in said
    assert "presigned" not in said  # an address of the bucket, which no client needs to reach
    with pytest.raises(UserError, match=r"MLflow's store refused \(.*Connection refused\); mend it") as away:
        run.picture(b"another", "faces/two.png")
    assert "\n" not in str(away.value)


def test_a_bucket_that_is_not_there_or_refuses_is_one_sentence(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    tracking = Tracking(f"sqlite:///{tmp_path}/mlflow.db", "visage")
    experiment = tracking.client.create_experiment("in-s3", artifact_location="s3://not-there/runs")
    run = tracking.client.create_run(experiment).info.run_id

    def refused(call: object, *arguments: object) -> str:
        with pytest.raises(UserError, match=r"^tracking_uri = sqlite:.*; mend it or give another one\.$") as error:
            call(*arguments)  # type: ignore[operator]
        assert "\n" not in str(error.value)
        return str(error.value)

    log = RunLog(tracking.client, tracking.uri, run)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    assert "SignatureDoesNotMatch" in refused(log.picture, b"a picture", "one.png")
