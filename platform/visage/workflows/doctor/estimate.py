"""What an experiment would take, by the last training of its kind."""

import os

from visage.config import Experiment

KIND = ("data.size", "method", "train.batch", "train.workers", "train.gpus_per_worker")  # what decides its pace


def estimate(experiment: Experiment | None) -> str:
    """Hours, and GPU hours, of the study that the experiment describes, in words. On the Ray in use, else on this
    machine. Raises UserError where not even one trial fits, or MLflow does not answer."""
    from visage.registry.pace import pace
    from visage.registry.tracking import flattened
    from visage.search.study.budget import HOUR, span
    from visage.training.resources import concurrency, room, this_machine

    if experiment is None or not experiment.search.space:
        return ""
    train, search = experiment.train, experiment.search
    at_once = room(train, search.concurrency) if os.environ.get("RAY_ADDRESS") else concurrency(this_machine(), train)
    at_once = min(at_once, search.trials, search.concurrency or at_once)
    settings = dict(flattened(experiment.model_dump(mode="json")))
    kind = {name: text for name, text in settings.items() if name.startswith(KIND)}
    plan = f"{search.trials} trials of {train.images:,} images, {at_once} side by side"
    known = pace(experiment.registry.tracking_uri, experiment.registry.experiment, kind)
    if known is None:
        return f"{plan}; no training like these is in MLflow yet, so how long is told from the first trials on"
    name, seconds = known
    work = search.trials * train.images * seconds
    took = min(work / at_once, search.stop.hours * HOUR if search.stop.hours else float("inf"))
    gpus = f" and {took * at_once * train.workers * train.gpus_per_worker / HOUR:.3g} GPU hours"
    fewer = "; asha stops the poor ones early" if search.scheduler == "asha" else ""
    return f"{plan}: at most about {span(took)}{gpus if train.gpus_per_worker else ''}, as fast as {name}{fewer}"
