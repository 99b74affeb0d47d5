from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visage.config import Experiment, read_config, replaced, validated
from visage.config.data import Data, Layout, Preparation, copy_of
from visage.errors import UserError

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"layout": "kdef", "kdef": {"angles": ["XX"]}}, ["kdef.angles", "XX"]),
        ({"layout": "kdef", "kdef": {"angles": []}}, ["kdef.angles"]),
        ({"layout": "kdef", "kdef": {"angels": ["S"]}}, ["kdef.angels", "did you mean angles"]),
        ({"layout": "kdef", "rafd": {"cameras": [45]}}, ["rafd is for layout rafd", "layout is kdef", "remove rafd"]),
        ({"layout": "london", "oulu_casia": {"peak_frames": 1}}, ["oulu_casia is for layout oulu-casia"]),
        ({"layout": "folder", "people": 20}, ["people is for layout synthetic"]),
        ({"layout": "rafd", "nuisance": 2}, ["nuisance is for layout synthetic"]),
        ({"layout": "synthetic", "nuisance": 2.1}, ["nuisance", "2.1"]),
        ({"layout": "oulu-casia", "oulu_casia": {"neutral_frames": 7}}, ["neutral_frames", "7"]),
        ({"layout": "oulu-casia", "oulu_casia": {"protocol": "random"}}, ["protocol", "random"]),
        ({"layout": "oulu"}, ["layout", "oulu-casia"]),
        ({"dir": "gopher://faces/kdef"}, ["data.address = 'gopher://faces/kdef'", "write s3://BUCKET/FOLDER"]),
        ({"dir": "s3://key:secret@faces/kdef"}, ["data.address", "AWS_SECRET_ACCESS_KEY"]),
        ({"layout": "kdef", "source": "s3://faces/kdef"}, ["data.source = 's3://faces/kdef'", "is an address"]),
        ({"expressions": ["happy"]}, ["expressions", "at least 2"]),
        ({"expressions": ["happy", "sad", "happy"]}, ["expressions", "happy stands in it twice"]),
    ],
)
def test_a_fault_names_key_value_and_mend(values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        validated(Preparation, {"data": {"dir": "faces"} | values}, "test")
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_preparation_reads_the_data_and_nothing_else() -> None:
    with pytest.raises(UserError, match=r"train: unknown key; known here are data"):
        validated(Preparation, {"data": {"dir": "faces"}, "train": {"batch": 8}}, "test")


@pytest.mark.parametrize("layout", [*get_args(Layout), None])
def test_an_experiment_comes_back_from_its_record(layout: str | None) -> None:
    experiment = validated(Experiment, {"data": {"dir": "faces", "layout": layout}}, "test")
    assert Experiment.model_validate_json(experiment.model_dump_json()) == experiment
    assert replaced(experiment, {"loss.pixel.weight": 3.0}).data == experiment.data


@given(st.sampled_from(get_args(Layout)))
def test_only_the_layouts_own_fields_are_its_own(layout: str) -> None:
    own = Data(dir=Path("faces"), layout=layout).own()  # type: ignore[arg-type]
    named = {"kdef": {"kdef"}, "rafd": {"rafd"}, "oulu-casia": {"oulu_casia"},
             "mmi": {"mmi"},
             "synthetic": {"people", "pictures", "seed", "nuisance", "turn", "fine", "units"}}  # fmt: skip
    assert set(own) == named.get(layout, set())


@pytest.mark.parametrize("name", ["kdef", "rafd", "oulu_casia"])
def test_each_set_of_the_paper_has_a_configuration_for_each_size(name: str) -> None:
    small, large = (read_config(Experiment, CONFIGS / f"{name}{end}.yaml") for end in ("", "_256"))
    assert (small.data.size, large.data.size) == (128, 256)
    for experiment in (small, large):
        assert experiment.data.layout == name.replace("_", "-")
        assert experiment.train.gpus_per_worker == 1
        assert experiment.method.model_dump() | {"mask": False, "warp": False} == experiment.method.model_dump()
        assert experiment.loss == Experiment(data=experiment.data).loss


def test_a_cluster_without_a_shared_folder_keeps_relative_places_at_its_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VISAGE_STORAGE", "s3://bucket/visage/")
    experiment = Experiment.model_validate({"data": {"dir": "runs/data/kdef"}})
    assert experiment.data.address == "s3://bucket/visage/runs/data/kdef"
    assert experiment.data.dir.is_relative_to("runs/data")
    assert experiment.train.storage == "s3://bucket/visage/"
    for same in ("./runs/data/kdef", "runs/data/kdef/"):
        assert Data.model_validate({"dir": same}) == experiment.data
    monkeypatch.delenv("VISAGE_STORAGE")
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment  # as on another machine
    assert Experiment.model_validate({"data": {"dir": "runs/data/kdef"}}).train.storage is None
    monkeypatch.setenv("VISAGE_STORAGE", "s3://bucket")
    for elsewhere in (tmp_path, "../kdef"):
        assert Data.model_validate({"dir": str(elsewhere)}).address is None
    named = Data.model_validate({"dir": "s3://other/kdef"})
    assert named.address == "s3://other/kdef"
    assert named.dir != experiment.data.dir


@given(st.text("abcdefg-/.", min_size=1, max_size=12), st.text("abcdefg-/.", min_size=1, max_size=12))
def test_two_addresses_have_two_copies(one: str, other: str) -> None:
    copies = {copy_of(f"s3://{place}") for place in (one, other)}
    assert len(copies) == len({one.rstrip("/"), other.rstrip("/")})
    assert all(".." not in copy.parts and copy.parent == Path("runs/data") for copy in copies)
