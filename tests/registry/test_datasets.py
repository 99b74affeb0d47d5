"""Which faces a run saw, as MLflow's page of it shows them."""

import json
from pathlib import Path

from tests.faces.sets import dozen
from visage.config.data import Data
from visage.registry.datasets import log_faces
from visage.registry.tracking import Tracking


def test_a_run_names_its_face_set_once_and_is_found_by_it(store: str, tmp_path: Path) -> None:
    made = dozen(tmp_path / "faces")
    tracking = Tracking(store, "visage")
    run = tracking.start_run("one")
    for _ in range(2):  # the second is what a resumed run says
        log_faces(run, Data(dir=made.dir))

    (seen,) = tracking.client.get_run(run.run_id).inputs.dataset_inputs
    assert (seen.dataset.name, made.sha256.startswith(seen.dataset.digest)) == ("a dozen", True)
    profile = json.loads(seen.dataset.profile)
    assert (profile["num_rows"], profile["people"], profile["pixels"]) == (24, 12, 16)
    assert {part: profile[f"people_{part}"] for part in ("train", "validation", "test")} == made.facts["counts"][
        "people_of_parts"
    ]
    found = tracking.client.search_runs([tracking.experiment_id], "dataset.name = 'a dozen'")
    assert [each.info.run_id for each in found] == [run.run_id]


def test_a_folder_without_faces_is_no_dataset(store: str, tmp_path: Path) -> None:
    tracking = Tracking(store, "visage")
    run = tracking.start_run("one")
    log_faces(run, Data(dir=tmp_path))
    assert not tracking.client.get_run(run.run_id).inputs.dataset_inputs
