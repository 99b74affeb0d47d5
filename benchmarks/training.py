"""Training images per second inside a Ray Train worker against the bare loop, in one run.

    python benchmarks/training.py

Both run the same loop, `visage.training.loop.train`, on the same procedural faces (64 px, width 32) with the same
number of threads, in turns, so that what else the machine does meets both. The rate is taken between the first and the
last report of losses of a run: start-up and the evaluation at the end are not in it.
"""

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import measured_with

THREADS = 1  # leaves a core to Ray's own processes and to the machine
IMAGES = 800
TURNS = 3


def rate(experiment_json: str, folder: str, parallel: bool) -> float:
    """Images per second of one run of the loop in this process."""
    import torch

    from visage.config import Experiment
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import face_networks
    from visage.training.loop import Place, train

    torch.set_num_threads(THREADS)
    experiment = Experiment.model_validate_json(experiment_json)
    faces = FaceSet.open(experiment.data.dir)
    place = Place()
    if parallel:
        import ray.train.torch

        place = Place(device=ray.train.torch.get_device())
    times: list[tuple[int, float]] = []
    networks = face_networks(faces, experiment.judge)

    def note(point: Any) -> None:
        if point.metrics is None:
            times.append((point.images, time.perf_counter()))

    train(experiment, faces, Path(folder), note, networks=networks, place=place)
    (first, start), (last, end) = times[0], times[-1]
    return (last - first) / (end - start)


def worker(settings: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(settings["out"]).write_text(str(rate(settings["experiment"], folder, parallel=True)))


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray runs its workers at nice 15; the bare loop has 0

    from visage.config import Experiment
    from visage.faces.prepare import prepare_if_absent
    from visage.infra.ray_session import local_ray
    from visage.judging.networks.train import face_networks
    from visage.training.ray_train import torch_trainer

    with tempfile.TemporaryDirectory(prefix="visage-bench-") as folder:
        experiment = Experiment.model_validate(
            {
                "data": {"dir": f"{folder}/faces", "layout": "synthetic", "people": 60, "pictures": 1},
                "train": {"images": IMAGES, "evaluate_every": IMAGES, "evaluate_pairs": 16},
                "judge": {"images": 1_000},
            }
        )
        face_networks(prepare_if_absent(experiment.data), experiment.judge)
        text = experiment.model_dump_json()
        bare, inside = [], []
        with local_ray():
            for turn in range(TURNS):
                with tempfile.TemporaryDirectory() as out:
                    bare.append(rate(text, out, parallel=False))
                result = Path(folder) / f"{turn}.txt"
                settings = {"experiment": text, "out": str(result)}
                torch_trainer(experiment.train, worker, settings, Path(folder) / f"ray-{turn}").fit()
                inside.append(float(result.read_text()))
    print(
        json.dumps(
            {
                "bare_images_per_second": [round(value, 1) for value in bare],
                "ray_train_images_per_second": [round(value, 1) for value in inside],
                "ratio_of_medians": round(statistics.median(inside) / statistics.median(bare), 3),
                "ratios_by_turn": [round(b / a, 3) for a, b in zip(bare, inside, strict=True)],
                "threads": THREADS,
                **measured_with("torch", "ray"),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
