"""The command line as a user meets it: in a process of its own."""

import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from visage.cli import app, main

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "ray", "mlflow", "optuna", "matplotlib", "facenet_pytorch", "fastapi", "numpy")


def visage(*arguments: str, folder: Path, seconds: float = 300, **more: str) -> subprocess.CompletedProcess[str]:
    """The finished command, started in `folder`. more: for its environment."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", **more}
    command = [sys.executable, "-m", "visage.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)


def visage_here(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The same in this process, for a test that needs what the command does and not a process of its own: importing the
    libraries costs seconds in each."""
    import torch

    threads, ends = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    said, complained, status = io.StringIO(), io.StringIO(), 0
    try:
        with (
            contextlib.chdir(folder),
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complained),
        ):
            patch.setattr(sys, "argv", ["visage", *arguments])
            main()
    except SystemExit as ended:
        status = int(ended.code or 0)
    finally:
        torch.set_num_threads(threads)
        signal.signal(signal.SIGTERM, ends)
    return subprocess.CompletedProcess(arguments, status, said.getvalue(), complained.getvalue())


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("visage: ")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text("data: {dir: faces}\nregistry: {tracking_uri: 'sqlite:///mlflow.db'}\n")
    return path


def test_the_surface_grows_only_on_purpose() -> None:
    command = typer.main.get_command(app)
    found = {
        name: sorted(option for parameter in each.params for option in parameter.opts)
        for name, each in command.commands.items()  # type: ignore[attr-defined]
    }
    assert found == {
        "init": ["--address", "--gpus", "--layout", "--size", "--source", "folder"],
        "prepare": ["--layout", "--out", "--people", "--pictures", "--seed", "--set", "--size", "--source"],
        "train": ["--from-run", "--out", "--registry", "--restartable", "--resume", "--set", "config"],
        "tune": ["--restartable", "--resume", "--set", "config"],
        "study": ["--port", "--prune", "--storage", "--web", "name"],
        "ablate": ["--out", "--set", "config"],
        "evaluate": ["--beside", "--data", "--inception", "--registry", "model"],
        "models": ["--registry"],
        "promote": ["--force", "--registry", "model"],
        "rollback": ["--registry", "name"],
        "compare": ["--eyes", "--port", "--registry", "--url", "name", "other"],
        "ui": ["--port", "--registry"],
        "edit": [
            "--animation",
            "--face",
            "--intensity",
            "--model",
            "--out",
            "--registry",
            "--to",
            "--url",
            "--view",
            "photo",
        ],
        "export": ["--format", "--out", "--registry", "model"],
        "transfer": ["--au", "--face", "--from", "--model", "--out", "--registry", "--url", "--view", "photo"],
        "inspect": ["file"],
        "serve": ["--set", "config"],
        "key": ["--keys", "name"],
        "demo": ["--keep"],
        "submit": ["--address", "--dry-run", "--env", "--image", "--wait", "command"],
        "jobs": ["--address", "action", "job"],
        "doctor": ["--address", "--env", "--image", "--json", "--set", "config"],
    }


def test_a_shell_completes_the_commands() -> None:
    asked = {"_VISAGE_COMPLETE": "complete_bash", "COMP_WORDS": "visage stu", "COMP_CWORD": "1"}
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}", **asked}
    script = "from visage.cli import app; app(prog_name='visage')"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "study"


def test_help_imports_nothing_heavy() -> None:
    code = f"import sys, visage.cli; print([name for name in {HEAVY} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_misspelt_key_is_one_sentence(config: Path, tmp_path: Path, command: str) -> None:
    done = visage_here(command, str(config), "--set", "trian.batch=3", folder=tmp_path)
    assert_one_sentence(done, "trian", "did you mean train")
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


@pytest.mark.slow
def test_what_the_machine_lacks_is_one_sentence(config: Path, tmp_path: Path) -> None:
    done = visage_here("train", str(config), "--set", "train.gpus_per_worker=1000", folder=tmp_path)
    assert_one_sentence(done, "1000 GPUs each")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "tune"])
def test_a_wrong_store_is_told_before_faces_are_made(config: Path, tmp_path: Path, command: str) -> None:
    space = "search.space={loss.pixel.weight: {uniform: [1, 2]}}"
    done = visage_here(
        command, str(config), "--set", space, "--set", "registry.tracking_uri=mlflow.db", folder=tmp_path
    )
    assert_one_sentence(done, "tracking_uri = mlflow.db", "sqlite:///PATH")


def test_ctrl_c_names_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from visage.errors import UserError
    from visage.workflows.training import going_on_with, typed

    monkeypatch.setattr(sys, "argv", ["visage", "train", "a b.yaml"])
    said = pytest.raises(UserError, match=r"cut off.*: visage train 'a b\.yaml' --resume$")
    with said, going_on_with(lambda: typed("--resume")):
        raise KeyboardInterrupt


@pytest.mark.slow
def test_a_missing_face_set_says_how_to_make_it(config: Path, tmp_path: Path) -> None:
    assert_one_sentence(visage_here("train", str(config), folder=tmp_path), "faces", "visage prepare")


@pytest.mark.slow
def test_faces_that_nothing_can_be_learnt_from_are_refused_before_the_judges(config: Path, tmp_path: Path) -> None:
    import numpy as np

    from visage.config.data import Shares
    from visage.faces.faceset import write_face_set
    from visage.faces.layouts import Row
    from visage.faces.split import split_people

    shares = Shares(train=0.5, validation=0.2, test=0.3)
    parts = split_people((f"p{k}" for k in range(20)), shares)
    learners = [person for person, part in parts.items() if part == "train"]
    rows = [Row(Path("a.png"), person, expression) for person in parts for expression in ("neutral", "happy")
            if person not in learners or (expression == "happy") == (learners.index(person) > 2)]  # fmt: skip
    faces = [np.full((64, 64, 3), 99, np.uint8)] * len(rows)
    write_face_set(tmp_path / "faces", rows, faces, name="one", layout="unpaired", size=64, shares=shares)
    done = visage_here("train", str(config), folder=tmp_path)
    assert_one_sentence(done, "faces: 0 of its training people show two expressions")
    assert not (tmp_path / "faces" / "networks").exists()


@pytest.mark.slow
def test_an_unknown_model_is_one_sentence(tmp_path: Path) -> None:
    for arguments in (
        ("evaluate", "visage-ucgan@champion", "--data", "faces"),
        ("promote", "visage-ucgan/7"),
        ("rollback", "visage-ucgan"),
        ("edit", "photo.jpg", "--to", "happy", "--out", "a.png"),
        ("transfer", "photo.jpg", "--from", "driver.jpg", "--out", "a.png"),
        ("export", "visage-ucgan@champion", "--format", "onnx", "--out", "a.onnx"),
        ("serve",),
    ):
        asked = (
            visage if "serve" in arguments else visage_here
        )  # as a user does, whose libraries may have something to say
        done = asked(*arguments, folder=tmp_path)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_every_command_that_takes_a_registry_heeds_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.main import get_command

    from visage.cli import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    stores = {
        name: option.envvar for name, one in commands.items() for option in one.params if option.name == "registry"
    }
    assert len(stores) > 7
    assert set(stores.values()) == {"MLFLOW_TRACKING_URI"}, stores
    arguments = ("transfer", "photo.jpg", "--from", "driver.jpg", "--out", "a.png")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert_one_sentence(visage_here(*arguments, folder=tmp_path), "elsewhere.db")


@pytest.mark.slow
def test_a_training_takes_a_configuration_or_a_run(config: Path, tmp_path: Path) -> None:
    for arguments in ((), ("--from-run", ""), (str(config), "--from-run", "0" * 32)):
        assert_one_sentence(visage_here("train", *arguments, folder=tmp_path), "CONFIG or --from-run")
    for unknown in ("0" * 32, "no\u2603run"):
        done = visage_here("train", "--from-run", unknown, folder=tmp_path)
        assert_one_sentence(done, f"run {unknown}: is not in sqlite:///runs/mlflow.db")


def test_an_unknown_study_is_one_sentence(tmp_path: Path) -> None:
    assert_one_sentence(visage_here("study", "kdef", folder=tmp_path), "kdef", "no such study", "runs/optuna.db")
    assert not list(tmp_path.iterdir())  # a look at what is not there makes no database


@pytest.mark.slow
def test_pages_refuse_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_one_sentence(visage_here("ui", "--port", port, folder=tmp_path), port, "in use")


@pytest.mark.slow
def test_preparing_says_what_it_found(tmp_path: Path) -> None:
    made = "prepare --layout synthetic --out faces --size 32 --people 40 --pictures"
    arguments = (*made.split(), "1")
    done = visage_here(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "320 faces of 40 people" in done.stdout
    assert (tmp_path / "faces" / "contact.png").is_file()
    refused = visage_here(*arguments[:-1], "2", folder=tmp_path)
    assert_one_sentence(refused, "faces")


def test_inspecting_a_picture(tmp_path: Path) -> None:
    import numpy as np

    from visage.faces.picture import write_picture
    from visage.faces.provenance import xmp_packet

    picture = np.zeros((20, 20, 3), np.uint8)
    write_picture(tmp_path / "made.webp", picture, xmp=xmp_packet("visage-ucgan", 12, "abc123", "photo"))
    write_picture(tmp_path / "plain.jpg", picture)
    (tmp_path / "text.png").write_text("no picture")
    made = visage_here("inspect", "made.webp", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    for word in ("visage-ucgan", "12", "abc123", "compositeWithTrainedAlgorithmicMedia"):
        assert word in made.stdout
    plain = visage_here("inspect", "plain.jpg", folder=tmp_path)
    assert plain.returncode == 0, plain.stderr
    assert plain.stdout.startswith("plain.jpg: carries no provenance")
    assert len(plain.stdout.strip().splitlines()) == 1
    assert_one_sentence(visage_here("inspect", "text.png", folder=tmp_path), "text.png", "no picture")
    assert_one_sentence(visage_here("inspect", "none.png", folder=tmp_path), "none.png", "no such file")
