"""Shared fixtures: one local Ray for the session, and the real photographs where they are to be had."""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks

# Every Ray here asks for this run's own token; that of the user, in ~/.ray, is neither read nor made.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
os.environ["VISAGE_JUDGES"] = os.devnull + ".tgz"  # the same judges, whether or not this machine has those from outside
os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
os.environ.setdefault("RAY_worker_niceness", "0")  # or tests starve on a busy machine
# Ray's log monitor reads the names of all its logs twice a second, for a driver that prints them, which none here does.
os.environ.setdefault("LOG_NAME_UPDATE_INTERVAL_S", "3600")
if "PYTEST_XDIST_WORKER" in os.environ:  # the processes fill the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no fault of the code; and the same examples each time, or a change fails for what it did not touch.
settings.register_profile("visage", deadline=None, derandomize=True)
settings.load_profile("visage")

LONDON = Path(__file__).parents[2] / "shared" / "data" / "london"


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Ctrl-C interrupts, also behind a shell's `&` or nohup, which have it ignored here and in all that starts here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def mlflow_schema_made_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A new SQLite store of this process is a copy of the first: MLflow's migrations take a second or two each time.

    Those of the processes that tests start make their own.
    """
    import shutil

    from visage.registry import store

    fresh, client = tmp_path_factory.mktemp("schema") / "mlflow.db", store._client

    def copied(address: str, uri: str) -> "MlflowClient":
        database = store.database_of(address)
        if database and not database.stat().st_size:
            if not fresh.exists():
                client(f"{store.SQLITE}{fresh}", uri)
            try:
                shutil.copyfile(fresh, database)
            except OSError:  # a full disk is MLflow's to find
                os.truncate(database, 0)
        return client(address, uri)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_client", copied)
        yield


@pytest.fixture(scope="session")
def local_ray(object_store: dict[str, str]) -> Iterator[None]:
    """A Ray of two CPUs in this machine, whose processes know the object store as a cluster's do.

    The dashboard stays, as Train inside Tune needs its state API.
    """
    import ray

    os.environ.update(object_store)
    ray.init("local", num_cpus=2, log_to_driver=False, logging_level="warning")  # whatever else runs here
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def object_store() -> Iterator[dict[str, str]]:
    """An S3-compatible server, SeaweedFS: the variables by which its clients find it."""
    import shutil
    import tempfile

    from k8s.servers import objects

    folder = Path(tempfile.mkdtemp(prefix="visage-objects-"))
    try:
        with objects(folder, "of-the-tests") as variables:
            yield variables
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket(object_store: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty folder of a bucket, whose keys this process's environment holds for the test."""
    for name, value in object_store.items():
        monkeypatch.setenv(name, value)
    return f"s3://tests/{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def london() -> Path:
    """The folder of real photographs, which are not part of the project."""
    if not LONDON.is_dir():
        pytest.skip("the London photographs are not beside the project")
    return LONDON


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Files have the name of their parameter: a ZIP that is made at collection holds the time, and pytest-xdist's
    processes must find the same tests."""
    return argname if isinstance(val, bytes) and len(val) > 40 else None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for the judges below is slow, as it waits for their fit unless another test has waited already.

    Of pytest-xdist's processes one has all tests of studies and one all of what is served, so that no more than two
    Rays run side by side; a file's other tests share one, as each would make the file's fixtures anew. What is longest
    begins first.
    """
    for item in items:
        if "judged" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
        if _needs_ray(item):
            group = "studies" if "search" in item.path.parts else "served"
        else:
            group = str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group(group))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: 0 if _needs_ray(item) else 1 if item.get_closest_marker("slow") else 2)


@pytest.hookimpl(trylast=True)  # after the fixtures that use it
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A process's Ray ends with its group: idle it takes a tenth of a core from all others."""
    last = nextitem and _needs_ray(item) and not _needs_ray(nextitem)
    if "PYTEST_XDIST_WORKER" in os.environ and last:
        import ray

        ray.shutdown()


def _needs_ray(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("ray", "serve", "browser"))


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> "tuple[FaceSet, FaceNetworks]":
    """50 procedural people, three expressions in two sittings, 64 px, and judges trained for a few seconds.

    Eight are for the test, as every evaluation makes all their faces anew, at seven intensities.
    """
    from visage.config.experiment import Judge
    from visage.faces.faceset import FaceSet
    from visage.infra.files import locked
    from visage.judging.networks.train import face_networks

    # The processes of pytest-xdist, each with a folder of its own in one, share them.
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "judged"
    with locked(out.with_suffix(".lock")):
        faces = FaceSet.open(out) if out.exists() else _judged_faces(out)
        return faces, face_networks(faces, Judge(images=4_000))


def _judged_faces(out: Path) -> "FaceSet":
    from visage.config.data import Shares
    from visage.faces.faceset import write_face_set
    from visage.faces.layouts import Row
    from visage.faces.synthetic.people import picture_of

    rows, faces = [], []
    for person in range(50):
        for session in range(2):
            for expression in ("neutral", "happy", "surprise"):
                row, face = picture_of(person, expression, session, 64, seed=1)
                rows.append(Row(Path(f"{len(rows)}.png"), row.identity, expression, str(session)))
                faces.append(face)
    shares = Shares(train=0.68, validation=0.16, test=0.16)
    return write_face_set(out, rows, faces, name="judged", layout="synthetic", size=64, shares=shares)
