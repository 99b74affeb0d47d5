"""The training loop: the same in this process, in a Ray Train worker and in a Tune trial. It knows no Ray."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from visage.config import Experiment
from visage.errors import UserError, one_line
from visage.faces.faceset import FaceSet
from visage.infra import traces
from visage.infra.signals import uninterrupted
from visage.judging.judges import Judges
from visage.judging.networks.train import FaceNetworks
from visage.methods import method_of
from visage.methods.base import Validation
from visage.methods.losses import Parts
from visage.models.precision import in_precision
from visage.training.health import discriminator_warning
from visage.training.memory import GIB, OutOfMemory, out_of_memory
from visage.training.progress import Progress, Report
from visage.training.trainer import Place, Trainer, here

LOGS_PER_EVALUATION = 10
CHECK_STEPS = 8  # between looks at whether the networks are finite: a look waits for the device


def train(
    experiment: Experiment,
    faces: FaceSet,
    out: Path,
    report: Report,
    *,
    networks: FaceNetworks,
    place: Place | None = None,
    resume: Path | None = None,
    judges: Judges | None = None,
) -> Progress:
    """Train to `train.images` and return the last evaluation.

    out: folder for the checkpoint and the pictures. report: told the losses now and then and each evaluation; every
    worker calls it at the same points, and only the first one's carry metrics. resume: a checkpoint folder.
    judges: those of the validation people on the place's device, where the caller has them for several runs: they look
    at every real face first.
    Raises Diverged when the networks are not finite any more, and leaves the checkpoint before that. On Ctrl-C the
    checkpoint is written first.
    """
    place = place or here(experiment.train)
    forget_memory(place.device)
    trainer = Trainer(experiment, faces, networks, place)
    if resume:
        trainer.restore(resume)
    goal, every = experiment.train.images, experiment.train.evaluate_every
    validation = None
    if not place.rank:
        judges = judges or Judges(networks, faces, "validation", place.device, paired=experiment.method.paired)
        validation = method_of(experiment.method.name).validation(experiment, judges)
    means, window = Means(), list[dict[str, float]]()
    steps = 0
    last = Progress(trainer.images)
    try:
        while trainer.images < goal:
            before, after = trainer.images, trainer.images + experiment.train.batch
            evaluate = after >= goal or crossed(before, after, every)
            log = evaluate or crossed(before, after, max(1, every // LOGS_PER_EVALUATION))
            with uninterrupted():  # a checkpoint with half a step in it would not go on exactly
                means.add(trainer.step(gradients=log))
            steps += 1
            if not log:
                if steps % CHECK_STEPS == 0:
                    trainer.check()
                continue
            losses = means.take()
            trainer.check(losses)
            window.append(losses)
            last = Progress(trainer.images, losses | memory(place.device))
            if evaluate:
                last = replace(last, warning=discriminator_warning(window, experiment.loss, trainer.images))
                window.clear()
                last = evaluated(trainer, last, validation, out)
            report(last)
    except (MemoryError, RuntimeError) as error:
        if experiment.train.compile and isinstance(error, torch._dynamo.exc.TorchDynamoException):
            fault = f"train.compile = true: torch.compile does not work here ({one_line(error)}); set it to false."
            raise UserError(fault) from None
        if not out_of_memory(error):
            raise
        raise OutOfMemory(
            f"train.batch = {experiment.train.batch}: is too much for the memory of {place.device}; lower it, or add "
            "workers (train.workers)."
        ) from None
    except KeyboardInterrupt:
        if not place.rank:
            trainer.save(out / "checkpoint")
        raise
    finally:
        trainer.close()
    if last.metrics is None:  # a run that was at its end already
        last = evaluated(trainer, last, validation, out)
        report(last)
    return last


def evaluated(trainer: Trainer, point: Progress, validation: Validation | None, out: Path) -> Progress:
    """The point with metrics, a picture of faces and a checkpoint; on other workers than the first, with none."""
    if validation is None:
        return replace(point, metrics={})
    with traces.span("evaluation", images=point.images):
        generator = in_precision(trainer.averaged(), trainer.place.device, trainer.experiment.train.precision)
        metrics = validation.metrics(generator)
        picture = out / "faces" / f"{point.images:08d}.png"
        with suppress(OSError):  # writing says why
            picture.parent.mkdir(parents=True, exist_ok=True)
        validation.sheet(generator).write(picture)
    trainer.evaluation = replace(point, metrics=metrics, faces=picture, checkpoint=out / "checkpoint")
    with traces.span("checkpoint"):
        trainer.save(out / "checkpoint")
    return trainer.evaluation


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return before // every != after // every


class Means:
    """The means of scalars on the device, read only when asked for."""

    def __init__(self) -> None:
        self.sums: Parts = {}
        self.counts: dict[str, int] = {}

    def add(self, parts: Parts) -> None:
        for name, part in parts.items():
            self.sums[name] = self.sums[name] + part if name in self.sums else part
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means of what was added since the last time; one wait for the device."""
        values = torch.stack(list(self.sums.values())).tolist() if self.sums else []
        means = {name: value / self.counts[name] for name, value in zip(self.sums, values, strict=True)}
        self.sums, self.counts = {}, {}
        return means


def forget_memory(device: torch.device) -> None:
    """Of a GPU: give back what an earlier trial of this process no longer uses, and count the peak anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()  # one that ran out of memory leaves it in pieces
        torch.cuda.reset_peak_memory_stats(device)


def memory(device: torch.device) -> dict[str, float]:
    """The most that this training has held of a GPU's memory; nothing on a CPU."""
    if device.type != "cuda":
        return {}
    return {"memory/peak_gib": torch.cuda.max_memory_allocated(device) / GIB}
