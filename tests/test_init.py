"""A project begun: files that the other commands take, with the settings that the configurations were measured with."""

from pathlib import Path

import pytest
from test_cli import ROOT, assert_one_sentence, visage_here

from visage.config import Experiment, Serving, read_config


def begun(folder: Path, *arguments: str) -> Experiment:
    done = visage_here("init", "mine", *arguments, folder=folder)
    assert done.returncode == 0, done.stderr
    assert "visage doctor experiment.yaml" in done.stdout
    assert read_config(Serving, folder / "mine" / "serve.yaml").model == "visage-ucgan@champion"
    return read_config(Experiment, folder / "mine" / "experiment.yaml")


def test_without_photographs_faces_are_drawn_as_the_demo_draws_them(tmp_path: Path) -> None:
    made, demo = begun(tmp_path), read_config(Experiment, ROOT / "configs" / "demo.yaml")
    assert (made.method, made.loss, made.optim, made.search.space) == (
        demo.method, demo.loss, demo.optim, demo.search.space,
    )  # fmt: skip
    assert made.data.layout == "synthetic"
    assert (tmp_path / "mine" / ".gitignore").read_text().endswith("runs/\n")


def test_photographs_are_learnt_with_the_settings_of_real_ones(tmp_path: Path) -> None:
    source = tmp_path / "my: photos #1"
    source.mkdir()
    made = begun(tmp_path, "--source", str(source), "--gpus", "1")
    london = read_config(Experiment, ROOT / "configs" / "london.yaml")
    assert (made.method, made.loss, made.optim) == (london.method, london.loss, london.optim)
    assert (made.data.layout, made.data.source, made.data.size) == ("folder", source, 128)
    assert made.train.gpus_per_worker == 1
    assert read_config(Serving, tmp_path / "mine" / "serve.yaml").replicas.num_gpus == 1


def test_for_a_cluster_paths_are_its_own_and_stores_those_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = "http://head:8265"
    done = visage_here("init", "mine", "--source", "/shared/photos", "--address", server, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"visage doctor experiment.yaml --address {server} " in done.stdout
    assert f"visage submit tune experiment.yaml --address {server} " in done.stdout
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    made = read_config(Experiment, tmp_path / "mine" / "experiment.yaml")
    assert made.data.source == Path("/shared/photos")
    assert made.registry.tracking_uri == "http://mlflow:5000"
    assert read_config(Serving, tmp_path / "mine" / "serve.yaml").tracking_uri == "http://mlflow:5000"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("there",), ("there", "another name")),
        (("new", "--source", "none"), ("none", "no folder")),
        (("new", "--size", "65"), ("data.size = 65", "32, 64, 128")),
        (("new", "--source", "photos", "--address", "http://head:8265"), ("photos", "whole path")),
        (("new", "--address", "head"), ("head", "http://HOST:8265")),
    ],
)
def test_what_cannot_be_begun_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.txt").touch()
    assert_one_sentence(visage_here("init", *arguments, folder=tmp_path), *words)
    assert [path.name for path in tmp_path.rglob("*")] == ["there", "thesis.txt"]
