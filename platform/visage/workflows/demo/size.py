"""How long the demo's trials may be on this machine."""

import os
import time

from visage.config import Experiment, replaced
from visage.faces.faceset import FaceSet
from visage.judging.networks.train import FaceNetworks

TRIAL_SECONDS = 40.0  # of training a trial: six, two at a time, and their evaluations are some three minutes
FEWEST, MOST = 800, 8_000  # images: below it nothing is learnt, above it little more
LOOKS = 4  # evaluations of a trial
WARM, TIMED = 2, 4  # steps of each stage


def sized(experiment: Experiment, faces: FaceSet, networks: FaceNetworks) -> Experiment:
    """The experiment with trials as long as this machine trains in TRIAL_SECONDS, measured by a few steps of it."""
    before, after = step_seconds(experiment, faces, networks)
    late = experiment.loss.start
    a_step = late * before + (1 - late) * after
    seconds = TRIAL_SECONDS * min(1.0, (os.cpu_count() or 1) / 2)
    unit = LOOKS * experiment.train.batch
    images = int(min(MOST, max(FEWEST, seconds / a_step * experiment.train.batch))) // unit * unit
    look = images // LOOKS
    return replaced(experiment, {"train.images": images, "train.evaluate_every": look, "search.grace_images": look})


def step_seconds(experiment: Experiment, faces: FaceSet, networks: FaceNetworks) -> tuple[float, float]:
    """Seconds of a step on one thread, as a trial has it: without the discriminator, and with it."""
    import torch

    from visage.training.trainer import Place, Trainer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer, found = Trainer(experiment, faces, networks, Place()), []
        for first in (0, experiment.train.images):
            trainer.images = first
            for _ in range(WARM):
                trainer.step()
            began = time.perf_counter()
            for _ in range(TIMED):
                trainer.step()
            found.append((time.perf_counter() - began) / TIMED)
        return found[0], found[1]
    finally:
        torch.set_num_threads(threads)
