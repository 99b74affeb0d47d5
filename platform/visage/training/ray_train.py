"""Ray Train around the loop: one or several data-parallel workers (gloo on CPUs, nccl on GPUs)."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchConfig, TorchTrainer

from visage.config import Experiment
from visage.config.experiment import Train
from visage.infra import traces
from visage.infra.remote_store import local
from visage.training.progress import Diverged, Progress
from visage.training.resources import worker_threads
from visage.training.run_folder import CHECKPOINT, RAY, RunFolder

PICTURE = "faces.png"
RESTARTS = 2  # times that lost workers are started again from the last checkpoint


def torch_trainer(
    train: Train,
    worker: Callable[[dict[str, Any]], Any],
    settings: dict[str, Any],
    storage: Path | str,
    *,
    callbacks: Sequence[UserCallback] = (),
    backend: str | None = None,
) -> TorchTrainer:
    """A TorchTrainer with the workers and resources of `train`. The same storage, a folder or an address, again goes on
    where it stopped."""
    return TorchTrainer(
        worker,
        train_loop_config=settings,
        torch_config=TorchConfig(backend=backend),
        scaling_config=ScalingConfig(
            # Ray's hints are those of its first Train, which takes no two numbers.
            num_workers=(train.min_workers, train.workers) if train.min_workers else train.workers,  # type: ignore[arg-type]
            use_gpu=train.gpus_per_worker > 0,
            resources_per_worker={"CPU": train.cpus_per_worker}
            | ({"GPU": train.gpus_per_worker} if train.gpus_per_worker else {}),
        ),
        run_config=RunConfig(
            name="train",
            storage_path=storage if isinstance(storage, str) else str(storage.absolute()),
            # The controller would start itself again for ever otherwise.
            failure_config=FailureConfig(max_failures=RESTARTS, controller_failure_limit=1),  # type: ignore[call-arg]
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=list(callbacks),  # type: ignore[arg-type]
        ),
    )


def train_on_ray(
    experiment: Experiment, folder: RunFolder, *, callbacks: Sequence[UserCallback] = (), resume: bool = False
) -> None:
    """Train under Ray Train. Each evaluation is reported once, with the metrics of the first worker.

    experiment.data must be what every worker can read, with its networks trained. Ray keeps its checkpoints in the
    folder's copy where it has one, and goes on from the last of them. resume: from the folder's own where Ray has none.
    Raises Diverged.
    """
    start = folder.place(CHECKPOINT) if resume else None
    settings = {"experiment": experiment.model_dump_json(), "resume": start, "traceparent": traces.here()}
    storage = (folder.remote / RAY).uri if folder.remote else folder.path / RAY
    handler = signal.getsignal(signal.SIGINT)
    try:
        result = torch_trainer(experiment.train, _worker, settings, storage, callbacks=callbacks).fit()
        if (diverged := result.return_value) is not None:  # type: ignore[attr-defined]
            raise Diverged(diverged)
    except SystemExit:  # how Ray Train's own handler answers Ctrl-C
        raise KeyboardInterrupt from None
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:  # it stays after the run otherwise
            signal.signal(signal.SIGINT, handler)


def _worker(settings: dict[str, Any]) -> str | None:
    """One worker's process: the loop, reporting to Ray Train. Returns why the run diverged, if it did.

    An error would make Ray start the workers again, for the same end. All workers return together, as all look at the
    same networks.
    """
    import ray.train.torch
    import torch

    from visage.faces.shared import opened
    from visage.judging.networks.train import face_networks
    from visage.training.loop import Place, train

    experiment = Experiment.model_validate_json(settings["experiment"])
    faces = opened(experiment.data)
    context = ray.train.get_context()
    # Ray sets one thread a process; the cores that this worker was given may be used.
    torch.set_num_threads(worker_threads(experiment.train))
    # The device is a GPU where Ray gave this worker one, else the CPU.
    place = Place(
        context.get_world_rank(), context.get_world_size(), ray.train.torch.get_device(), ray.train.torch.prepare_model
    )
    with tempfile.TemporaryDirectory(prefix="visage-") as folder:
        earlier = ray.train.get_checkpoint()
        resume = None
        if earlier:
            resume = Path(earlier.to_directory(Path(folder) / "earlier"))
        elif settings["resume"]:
            resume = local(settings["resume"], Path(folder) / "earlier")
        networks = face_networks(faces, experiment.judge)
        try:
            with traces.within("worker", settings["traceparent"], rank=place.rank):
                train(experiment, faces, Path(folder), _report, networks=networks, place=place, resume=resume)
        except Diverged as diverged:
            return str(diverged)
        finally:
            traces.flush()
    return None


def _report(point: Progress) -> None:
    """Evaluations only: a report is a barrier for all workers, and costs seconds after the first two."""
    if point.metrics is None:
        return
    import ray.train

    checkpoint = None
    if point.checkpoint and point.faces:
        shutil.copyfile(point.faces, point.checkpoint / PICTURE)
        checkpoint = Checkpoint.from_directory(point.checkpoint)
    warning = {"warning": point.warning} if point.warning else {}
    ray.train.report({"images": point.images, "losses": point.losses, **point.metrics, **warning}, checkpoint)


class Journal(UserCallback):
    """Writes each evaluation where the driver reads it: the controller runs on the driver's node."""

    def __init__(self, out: Path) -> None:
        self.folder = RunFolder(out)

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        values = dict(metrics[0])
        images, losses, warning = values.pop("images"), values.pop("losses"), values.pop("warning", None)
        faces = self.folder.path / "faces" / f"{images:08d}.png"
        if checkpoint:
            checkpoint.to_directory(self.folder.checkpoint)
            faces.parent.mkdir(parents=True, exist_ok=True)
            (self.folder.checkpoint / PICTURE).replace(faces)
        self.folder.append(Progress(images, losses, values, faces, self.folder.checkpoint, warning))
