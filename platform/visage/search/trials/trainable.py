"""Which function Tune runs for a trial of an experiment."""

from pathlib import Path

from visage.config import Experiment
from visage.search.trials.trial import Trainable, in_process
from visage.search.trials.workers import on_workers


def training(experiment: Experiment, study: Path) -> Trainable:
    """The trial function of an experiment, with its face set and judges made ready here, once for all trials."""
    from visage.faces.prepare import prepare_if_absent
    from visage.judging.networks.train import face_networks

    face_networks(prepare_if_absent(experiment.data), experiment.judge)
    return in_process(experiment, study) if experiment.train.workers == 1 else on_workers(experiment, study)
