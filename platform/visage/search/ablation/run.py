"""An ablation: the same training with parts of the method changed, several seeds each, judged on the test people."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from visage.config import Experiment, replaced
from visage.errors import UserError
from visage.infra.files import write_whole
from visage.infra.patience import patiently
from visage.judging.comparison import Compared, compared
from visage.judging.results import Evaluation, FaceResult
from visage.methods import method_of
from visage.training.progress import Diverged, Progress
from visage.training.resources import worker_threads
from visage.training.run_folder import RunFolder

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks

EVALUATION = "evaluation.json"
SETTINGS = "settings.json"
FACES = "faces.png"
POLL_SECONDS = 5.0  # each look reads the journals, and the runs want the cores
Watch = Callable[[str, int, int], None]
"""Called with (what is running, images done, images in all)."""


@dataclass(frozen=True)
class Run:
    """One training of an ablation: its variant, its whole setting, and its folder."""

    variant: str
    experiment: Experiment
    folder: Path

    @property
    def seed(self) -> int:
        return self.experiment.train.seed

    @property
    def name(self) -> str:
        return f"{self.variant}, seed {self.seed}"

    @cached_property
    def files(self) -> RunFolder:
        """Its folder as a run's, with a copy under `train.storage` where that is set."""
        return RunFolder.of(
            self.folder, self.experiment.train, f"ablation/{self.folder.parent.name}/{self.folder.name}"
        )

    def images(self) -> int:
        """How far it is, in images."""
        points = self.files.points()
        return points[-1].images if points else 0

    def evaluation(self) -> Evaluation | None:
        """What it reached on the test people; None while it is not finished, or when it diverged."""
        tree = self._read(EVALUATION)
        if tree is None or "diverged" in tree:
            return None
        try:
            found = Evaluation.from_dict(tree)
        except ValueError:
            raise self._damaged(EVALUATION) from None
        floors = method_of(self.experiment.method.name).measured.floors
        if missing := [name for name in floors if name not in found.rows]:
            raise UserError(
                f"{self.folder / EVALUATION}: was written by an older Visage and has no row {missing[0]}; delete this "
                "file, and the same command judges the run anew from its checkpoint."
            )
        return found

    def diverged(self) -> str | None:
        """Why it diverged; None when it did not."""
        tree = self._read(EVALUATION)
        return tree.get("diverged") if tree else None

    def finished(self) -> bool:
        return (self.folder / EVALUATION).is_file()

    def settings(self) -> dict[str, Any] | None:
        """What its folder is noted to be a run of; None where nothing is noted yet."""
        return self._read(SETTINGS)

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            tree = json.loads((self.folder / name).read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            tree = None
        if not isinstance(tree, dict):
            raise self._damaged(name)
        return tree

    def _damaged(self, name: str) -> UserError:
        return UserError(f"{self.folder / name}: is damaged; delete this file or the run's folder, and run it again.")


@dataclass(frozen=True)
class AblationResult:
    """runs: all, in order. table: by variant, of the runs that did not diverge; the first variant is the measure."""

    runs: list[Run]
    table: dict[str, Compared]


def runs_of(experiment: Experiment, out: Path) -> list[Run]:
    """Every variant with every seed, seed by seed, so that a part of the runs is already a comparison."""
    ablation = experiment.ablation
    if len(ablation.variants) < 2:
        raise UserError(
            f"ablation.variants: holds {len(ablation.variants)}; give two or more, each with the settings it changes."
        )
    if experiment.train.workers > 1:
        raise UserError(
            f"train.workers = {experiment.train.workers}: the runs of an ablation have one worker each and run side by "
            "side; set train.workers=1."
        )
    folders: dict[str, str] = {}
    for name in ablation.variants:
        if (other := folders.setdefault(_folder(name), name)) != name:
            folder = _folder(name)
            raise UserError(f"ablation.variants: {other} and {name} would share the folder {folder}; rename one.")
    plain = experiment.model_copy(update={"ablation": type(ablation)(name=ablation.name)})
    return [
        Run(name, replaced(plain, {**settings, "train.seed": seed}), out / f"{_folder(name)}-{seed}")
        for seed in ablation.seeds
        for name, settings in ablation.variants.items()
    ]


def ablate(
    experiment: Experiment, faces: "FaceSet", networks: "FaceNetworks", out: Path, watch: Watch
) -> AblationResult:
    """Train and judge every run that is not finished yet, as many side by side as the resources allow.

    out: a folder for the runs; with the same settings again it goes on there, each run from its last checkpoint.
    Raises UserError when `out` holds runs of other settings or a damaged one, when another process runs there, or when
    a variant has no run that did not diverge.
    """
    runs = runs_of(experiment, out)
    with RunFolder(out).lock(resume=False):
        for run in runs:
            if run.settings() is not None:  # refused before anything there is replaced
                _claim(run, faces, networks)
            run.files.sync()
            _claim(run, faces, networks)
            run.files.upload(last=EVALUATION)
        waiting = [run for run in runs if not run.finished()]
        if waiting:
            _on_ray(waiting, runs, watch)
    judged: dict[str, dict[int, list[FaceResult]]] = {run.variant: {} for run in runs}
    for run in runs:
        if (evaluation := run.evaluation()) is not None:
            judged[run.variant][run.seed] = evaluation.results
    if empty := [name for name, found in judged.items() if not found]:
        reason = next(run.diverged() for run in runs if run.variant == empty[0])
        raise UserError(f"ablation.variants: all runs of {empty[0]} diverged, the first because {reason}")
    return AblationResult(runs, compared(judged))


def _claim(run: Run, faces: "FaceSet", networks: "FaceNetworks") -> None:
    """Note in the run's folder what it is a run of. Raises UserError when it is one of something else."""
    tree = {
        "experiment": run.experiment.decides(),
        "faces": faces.sha256,
        "judges": networks.sha256,
    }
    noted = run.settings()
    if noted:
        with suppress(KeyError, ValidationError):  # a setting that came since then is at its default
            data = {"dir": run.experiment.data.dir, **noted["experiment"]["data"]}
            noted["experiment"] = Experiment.model_validate({**noted["experiment"], "data": data}).decides()
    if noted is None:
        run.folder.mkdir(parents=True, exist_ok=True)
        write_whole(run.folder / SETTINGS, json.dumps(tree, indent=1).encode())
    elif noted != tree:
        raise UserError(f"{run.folder}: holds a run of other settings or faces; choose another --out, or delete it.")


def _on_ray(waiting: list[Run], runs: list[Run], watch: Watch) -> None:
    """Each waiting run as a task of Ray; returns when all have ended, and raises the first fault after that."""
    import ray

    from visage.infra.ray_session import local_ray, root
    from visage.training.resources import require_seen, room

    of = sum(run.experiment.train.images for run in runs)
    faults: list[BaseException] = []
    with local_ray(dashboard=False):
        train = waiting[0].experiment.train
        room(train)  # Ray would wait for ever for what is not there
        if not train.storage:
            require_seen(waiting[0].folder.parent.absolute())
        task = ray.remote(num_cpus=train.cpus_per_worker, num_gpus=train.gpus_per_worker, max_retries=2)(_train)
        pending = {task.remote(replace(run, folder=run.folder.absolute())): run for run in waiting}
        try:
            while pending:
                ended, _ = ray.wait(list(pending), num_returns=1, timeout=POLL_SECONDS)
                for reference in ended:
                    run = pending.pop(reference)
                    try:
                        ray.get(reference)
                        patiently(run.files.sync)
                    except Exception as error:
                        faults.append(root(error))
                finished = sum(run.finished() for run in runs)
                watch(f"{finished} of {len(runs)} runs", sum(run.images() for run in runs), of)
        finally:
            for reference in pending:
                ray.cancel(reference, force=True)
    if faults:
        raise faults[0]


def _train(run: Run) -> None:
    """One run in a process of its own: train, judge on the test people, and keep the result."""
    import torch

    from visage.faces.shared import opened
    from visage.judging.networks.train import face_networks
    from visage.training.checkpoint import load_generator
    from visage.training.run import run_here
    from visage.training.trainer import here

    experiment, out = run.experiment, run.folder
    patiently(run.files.sync)
    torch.set_num_threads(worker_threads(experiment.train))
    faces = opened(experiment.data)
    networks = face_networks(faces, experiment.judge)
    try:
        run_here(experiment, faces, networks, run.files, _unheard, resume=run.files.resumable())
    except Diverged as error:
        write_whole(out / EVALUATION, json.dumps({"diverged": str(error)}).encode())
    else:
        device = here(experiment.train).device
        generator = load_generator(run.files.checkpoint)[0].to(device)
        method = method_of(experiment.method.name)
        evaluation = method.evaluate(generator, faces, networks, experiment.judge, device=device)
        next(method.sheets(generator, faces, "test"))[1].write(out / FACES)
        write_whole(out / EVALUATION, json.dumps(evaluation.to_dict()).encode())
    patiently(lambda: run.files.upload(last=EVALUATION))


def _unheard(point: Progress) -> None:
    """The journal has it."""


def _folder(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-") or "variant"
