"""An ablation with real, very short trainings in a real Ray."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.evaluations import sample
from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks
from visage.search.ablation.report import markdown, record
from visage.search.ablation.run import AblationResult, Run, ablate, runs_of
from visage.training.run_folder import RunFolder

Judged = tuple[FaceSet, FaceNetworks]
VARIANTS = {"base": {"loss.triplet.weight": 0}, "+ triplet": {"loss.triplet.weight": 5.0}}


def experiment(faces: FaceSet, **ablation: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "data": {"dir": str(faces.dir)},
            "method": {"width": 8, "discriminator_width": 8},
            "train": {"images": 32, "batch": 8, "evaluate_every": 16, "evaluate_pairs": 8},
            "judge": {"images": 4_000, "bootstrap": 100},
            "ablation": {"variants": VARIANTS, "seeds": [0, 1], **ablation},
        }
    )


@pytest.fixture(scope="module")
def done(judged: Judged, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> tuple[Path, AblationResult]:
    faces, networks = judged
    out = tmp_path_factory.mktemp("ablation")
    return out, ablate(experiment(faces), faces, networks, out, lambda *said: None)


@pytest.mark.ray
def test_every_variant_is_run_with_every_seed(done: tuple[Path, AblationResult]) -> None:
    _, result = done
    assert [(run.variant, run.seed) for run in result.runs] == [
        ("base", 0), ("+ triplet", 0), ("base", 1), ("+ triplet", 1),
    ]  # fmt: skip
    assert [run.experiment.loss.triplet.weight for run in result.runs] == [0, 5, 0, 5]
    assert list(result.table) == ["base", "+ triplet"]
    assert all(len(found.by_run["score"]) == 2 for found in result.table.values())


@pytest.mark.ray
def test_only_what_is_missing_is_run_again(judged: Judged, done: tuple[Path, AblationResult]) -> None:
    faces, networks = judged
    out, before = done
    lost, *kept = [run.folder / "evaluation.json" for run in before.runs]
    content = lost.read_bytes()
    lost.unlink()
    times = [path.stat().st_mtime_ns for path in kept]
    after = ablate(experiment(faces), faces, networks, out, lambda *said: None)
    assert lost.read_bytes() == content  # from its checkpoint, which holds the finished training
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert after.table == before.table


@pytest.mark.ray
def test_other_settings_do_not_mix(judged: Judged, done: tuple[Path, AblationResult]) -> None:
    faces, networks = judged
    with pytest.raises(UserError, match="other settings"):
        ablate(
            replaced(experiment(faces), {"train.images": 48}), faces, networks, done[0], lambda *said: None
        )  # fmt: skip


@pytest.mark.ray
def test_a_diverged_run_is_told_and_left_out(judged: Judged, tmp_path: Path, local_ray: None) -> None:
    faces, networks = judged
    asked = experiment(faces, variants={"base": {}, "wild": {"loss.pixel.weight": 1e39}}, seeds=[0])
    with pytest.raises(UserError, match=r"wild diverged.*after"):
        ablate(asked, faces, networks, tmp_path, lambda *said: None)
    base, wild = runs_of(asked, tmp_path)
    assert wild.diverged()
    assert base.evaluation() is not None


@pytest.mark.ray
def test_the_record_reaches_files_and_mlflow(done: tuple[Path, AblationResult], tmp_path: Path) -> None:
    from mlflow import MlflowClient

    from visage.registry.tracking import Tracking

    _, result = done
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    run_id = record(result, Tracking(uri, "test"), "losses", tmp_path)
    assert record(result, Tracking(uri, "test"), "losses", tmp_path) == run_id  # once is enough
    client = MlflowClient(uri)
    assert {file.path for file in client.list_artifacts(run_id)} == {"table.md", "ablation.png"}
    children = client.search_runs(
        [client.get_run(run_id).info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
    )
    assert len(children) == 4
    assert all("test/score" in child.data.metrics and "loss/pixel" in child.data.metrics for child in children)
    rows = [line for line in markdown(result).splitlines() if line.startswith("| + triplet")]
    assert len(rows) == 7  # the mean, the difference, at equal expression twice and their mean, and two runs
    assert "| mean change |" in markdown(result)


def test_what_cannot_be_compared_is_refused(judged: Judged) -> None:
    with pytest.raises(UserError, match=r"ablation\.variants: holds 1"):
        runs_of(experiment(judged[0], variants={"base": {}}), Path("out"))
    with pytest.raises(UserError, match=r"train\.workers"):
        runs_of(replaced(experiment(judged[0]), {"train.workers": 2}), Path("out"))
    with pytest.raises(ValueError, match=r"wild: loss\.triplex\.weight is no setting: loss has"):
        experiment(judged[0], variants={"base": {}, "wild": {"loss.triplex.weight": 1}})


def test_names_seeds_and_folders_are_checked(judged: Judged) -> None:
    with pytest.raises(UserError, match=r"a b and a-b would share the folder a-b"):
        runs_of(experiment(judged[0], variants={"a b": {}, "a-b": {"loss.triplet.weight": 2}}), Path("out"))
    for wrong in ({"seeds": [-1]}, {"name": "../elsewhere"}, {"name": ""}):
        with pytest.raises(ValueError, match="ablation"):
            experiment(judged[0], **wrong)


@pytest.mark.parametrize("file", ["settings.json", "evaluation.json"])
@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_damaged_run_is_named(judged: Judged, tmp_path: Path, file: str, content: str) -> None:
    asked = experiment(judged[0], seeds=[0])
    run = runs_of(asked, tmp_path)[0]
    run.folder.mkdir()
    (run.folder / file).write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=f"{file}: is damaged"):
        _ = run.settings() if file == "settings.json" else run.evaluation()


def test_a_run_that_was_judged_without_floors_is_not_mixed_with_others(judged: Judged, tmp_path: Path) -> None:
    run = runs_of(experiment(judged[0], seeds=[0]), tmp_path)[0]
    run.folder.mkdir()
    (run.folder / "evaluation.json").write_text(json.dumps(sample(judged[0].expressions).to_dict()))
    with pytest.raises(UserError, match=r"older Visage and has no row copy; delete this file"):
        run.evaluation()


def test_one_folder_has_one_ablation_at_a_time(judged: Judged, tmp_path: Path) -> None:
    with RunFolder(tmp_path).lock(resume=False), pytest.raises(UserError, match="another process"):
        ablate(experiment(judged[0]), *judged, tmp_path, lambda *said: None)
    assert not list(tmp_path.glob("base*"))


@pytest.mark.ray
def test_a_run_that_diverged_at_once_is_recorded(done: tuple[Path, AblationResult], tmp_path: Path) -> None:
    from visage.registry.tracking import Tracking

    result = done[1]
    lost = Run("base", replaced(result.runs[0].experiment, {"train.seed": 7}), tmp_path / "base-7")
    lost.folder.mkdir()
    (lost.folder / "evaluation.json").write_text(json.dumps({"diverged": "loss pixel = inf"}))
    with_it = AblationResult([*result.runs, lost], result.table)
    record(with_it, Tracking(f"sqlite:///{tmp_path}/mlflow.db", "test"), "losses", tmp_path)
    line = next(line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| base | 7"))
    assert line.count("|") == 8
    assert "diverged" in line


@pytest.mark.ray
def test_of_transfers_the_agreement_of_action_units_and_the_leaks_are_told(
    judged: Judged, tmp_path: Path, local_ray: None
) -> None:
    faces, networks = judged
    method = {"name": "eft", "width": 8, "discriminator_width": 8, "mask": True}
    variants: dict[str, dict[str, float]] = {"whole": {}, "without swap": {"loss.swap.weight": 0}}
    short = {"images": 8, "batch": 4, "evaluate_every": 8, "evaluate_pairs": 8}
    judge, parts = {"images": 4_000, "bootstrap": 100}, {"variants": variants, "seeds": [0]}
    tree = {"data": {"dir": str(faces.dir)}, "method": method, "train": short, "judge": judge, "ablation": parts}
    result = ablate(Experiment.model_validate(tree), faces, networks, tmp_path, lambda *said: None)
    text = markdown(result)
    assert "| au_agreement |" in text
    rows = {line.split(" | ")[0][2:]: line.strip("| ").split(" | ") for line in text.splitlines() if " | " in line}
    assert float(rows["copy of the input"][4].split()[0]) <= 0
    assert rows["constant reading"][3] == "–"
    assert "(" not in rows["whole"][1]  # one seed, so no interval
    for run in result.runs:
        evaluation = run.evaluation()
        assert evaluation
        agreement = evaluation.rows["model"].metrics["au_agreement"].value
        assert f"| {agreement:.3f} |" in text.partition("Every run.")[2]
    leaks = text.partition("Leak probes")[2].splitlines()
    assert [line.split(" | ")[0][2:] for line in leaks if line.startswith("| w")] == ["whole", "without swap"]
