from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.config import Dimension, Experiment, Serving, read_config, replaced, validated
from visage.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"
MINIMAL = {"data": {"dir": "faces"}}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text("data: {dir: faces}\nsearch:\n  space:\n    loss.pixel.weight: {log_uniform: [1, 200]}\n")
    return path


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    read_config(Serving if path.name == "serve.yaml" else Experiment, path)


def test_settings_lie_over_the_file(config: Path) -> None:
    experiment = read_config(Experiment, config, ["train.batch=8", "loss.triplet.margin=0.5", "data.layout=synthetic"])
    assert (experiment.train.batch, experiment.loss.triplet.margin, experiment.data.layout) == (8, 0.5, "synthetic")


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("trian.batch=3", ["trian", "did you mean train"]),
        ("train.bach=3", ["train.bach", "did you mean batch"]),
        ("train.batch=many", ["train.batch", "many", "integer"]),
        ("train.batch.size=3", ["train.batch"]),
        ("train.batch", ["key.path=value"]),
        ("data.size=63", ["data.size", "63", "32, 64, 128"]),
        ("data.shares.train=0.9", ["shares", "1.2", "add up to 1"]),
        ("data.shares.train=0", ["shares.train", "greater than 0"]),
        ("train.workers=3", ["batch 16", "3 workers"]),
        ("train.min_workers=2", ["min_workers 2", "workers 1"]),
        ("search.space={loss.pixl.weight: {uniform: [0, 1]}}", ["loss.pixl.weight", "pixel"]),
        ("search.space={loss.pixel: {uniform: [0, 1]}}", ["loss.pixel", "weight"]),
        ("search.final={train.imagse: 9}", ["search.final", "imagse", "images"]),
        ("search.final={train.images: 0}", ["search.final", "greater than or equal to 1"]),
        ("search.final.train.images=9", ["search.final", "a section", "train.NAME: VALUE"]),
        ("search.final={loss.pixel.weight: 9}", ["loss.pixel.weight", "under train, optim"]),
        ("search.space={data.size: {choice: [64, 128]}}", ["data.size", "cannot be varied"]),
        ("search.space={loss.triplet.margin: {uniform: [0, 1]}}", ["loss.triplet.margin", "greater than 0"]),
        ("search.space={loss.pixel.weight: {uniform: [3, 1]}}", ["low 3", "high 1"]),
        ("search.space={loss.pixel.weight: {log_uniform: [0, 1]}}", ["above 0", "low is 0"]),
        ("search.space={loss.pixel.weight: {}}", ["exactly one"]),
        (
            "search.space={method.name: {choice: [ucgan, eft]}}",
            ["search.space", "method.name = 'eft'", "a file of its own"],
        ),
        ("ablation.variants={a: {}, b: {method.name: eft}}", ["ablation.variants: b", "method.name = 'eft'", "ucgan"]),
        ("loss.swap.weight=many", ["loss.swap is for method eft", "remove it"]),
        ("search.objectives={beauty: max}", ["beauty"]),
        ("search.objectives={frechet: max}", ["search.objectives", "frechet: min"]),
        ("search.objectives={score: min}", ["search.objectives", "score: max"]),
        ("search.constraints={beauty: '>= 1'}", ["search.constraints", "beauty", "frechet"]),
        ("search.constraints={identity: 0.6}", ["search.constraints", "identity: 0.6", "'>= 0.6'"]),
        ("search.constraints={identity: '> high'}", ["> high", "'>= 0.6'"]),
        ("search.constraints={identity: '>= 1.2'}", ["identity: >= 1.2", "0..1"]),
        ("search.constraints={frechet: '<= -1'}", ["frechet: <= -1", "never"]),
        ("search.scheduler=hyperband", ["search.scheduler", "hyperband", "asha"]),
        ("search.sampler=grid", ["search.sampler", "grid", "qmc"]),
        ("train.gpus_per_worker=1.5", ["1.5", "whole number"]),
        ("train={workers: 2, gpus_per_worker: 0.5}", ["gpus_per_worker 0.5", "2 workers", "NCCL", "one worker"]),
        ("search.objectives={}", ["search.objectives", "at least 1"]),
        ("search.name=2024-13-01", ["2024-13-01", "quotes"]),
        ("search.name=" + "[" * 2000, ["quotes"]),
        ("optim.rate=.nan", ["optim.rate"]),
        ("loss.hardest=4", ["loss", "hardest = 4", "compact", "crossed"]),
    ],
)
def test_a_fault_names_key_value_and_mend(config: Path, setting: str, words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        read_config(Experiment, config, [setting])
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize("content", ["data: [", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=r"broken\.yaml"):
        read_config(Experiment, path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml.*no such file"):
        read_config(Experiment, tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    "asked", [{"hardest": 2, "triplet": {"embedding": "vggface2"}}, {"triplet": {"embedding": "crossed"}}]
)
def test_likeness_is_for_ucgan(asked: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"loss\.(hardest|triplet\.embedding = crossed) is for method ucgan"):
        validated(Experiment, {**MINIMAL, "method": {"name": "eft"}, "loss": asked}, "test")


def test_an_experiment_survives_json() -> None:
    experiment = validated(Experiment, MINIMAL, "test")
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment


@given(st.floats(0.01, 2.0), st.floats(0, 500))
def test_replaced_changes_only_what_it_names(margin: float, weight: float) -> None:
    experiment = validated(Experiment, MINIMAL, "test")
    changed = replaced(experiment, {"loss.triplet.margin": margin, "loss.pixel.weight": weight})
    assert (changed.loss.triplet.margin, changed.loss.pixel.weight) == (margin, weight)
    assert replaced(changed, {"loss.triplet.margin": 1.0, "loss.pixel.weight": 100.0}) == experiment


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_range_contains_its_ends_and_nothing_beyond(low: float, width: float) -> None:
    dimension = Dimension(uniform=(low, low + width))
    assert dimension.contains(low)
    assert dimension.contains(low + width)
    assert not dimension.contains(low - width)


def test_the_experiment_is_frozen() -> None:
    experiment = validated(Experiment, MINIMAL, "test")
    with pytest.raises(ValueError, match="frozen"):
        experiment.train.batch = 3  # type: ignore[misc]
