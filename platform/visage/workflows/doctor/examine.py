"""Everything that is looked at: each machine, what they must have in common, the stores behind them, and how long the
experiment would take."""

import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from visage.config import Experiment
from visage.config.data import HOME, Data
from visage.config.experiment import Registry, Search, Train
from visage.errors import UserError
from visage.infra.remote_store import Store
from visage.workflows.doctor.machine import SAME, SECONDS, Looked, Questions, faces_at, installed, look, side_by_side
from visage.workflows.doctor.schema import Answer, Check, Examination

SHARED = "all"
CLOCKS_SECONDS = 5.0  # that machines may be apart
KIND = ("data.size", "method", "train.batch", "train.workers", "train.gpus_per_worker")  # what decides its pace


def examine(experiment: Experiment | None) -> Examination:
    """Look at this machine, or at each node of the Ray of RAY_ADDRESS, and at the stores; takes half a minute at most.

    experiment: whose faces, stores and resources are asked for; without one, those that the environment names.
    """
    from visage.infra.ray_session import local_ray
    from visage.training.resources import ask_nodes

    questions, here = questions_of(experiment), installed()
    began = time.time()
    of_cluster = bool(os.environ.get("RAY_ADDRESS"))
    with local_ray(dashboard=False) if of_cluster else nullcontext():
        looked: dict[str, Looked | None] = (
            ask_nodes(look, questions, seconds=SECONDS + 10) if of_cluster else {"here": look(questions, "here", None)}
        )
        ended = time.time()
        told, fits = "", list[Check]()
        try:
            told = estimate(experiment)
        except UserError as error:
            fits = [Check.refused(SHARED, "trials", error)]
    checks: list[Check] = []
    for place, found in looked.items():
        if found is None:
            checks.append(Check.of(place, "node", ("broken", "does not answer", "see the node's logs, or let it go")))
        else:
            checks.append(Check.of(place, "versions", _versions(found.versions, here)))
            checks += [Check.of(place, "clock", _clock(found.at, began, ended)), *found.checks]
    return Examination(checks=[*checks, *stores(experiment), *fits], estimate=told)


def questions_of(experiment: Experiment | None) -> Questions:
    """What each machine is asked."""
    train = experiment.train if experiment else Train()
    data = experiment.data if experiment else None
    registry, search = _stores_of(experiment)
    return Questions(
        folder=Path(os.environ.get(HOME) or Path.cwd()),
        faces=data.dir.absolute() if data and not data.address else None,
        source=data.source if data else None,
        drawn=bool(data and data.layout == "synthetic"),
        addresses=(train.storage,) if train.storage else (),
        servers=tuple(
            (name, parts.hostname, parts.port)
            for name, parts in (("MLflow", urlsplit(registry)), ("study's database", urlsplit(search)))
            if parts.hostname and parts.port
        ),
        gpus=train.gpus_per_worker,
    )


def stores(experiment: Experiment | None) -> list[Check]:
    """What the driver asks of MLflow, of the study's database and of faces at an address. Makes nothing new."""
    registry, search = _stores_of(experiment)
    looks = [("MLflow", partial(_registry, registry)), ("study's database", partial(_database, search))]
    if experiment and experiment.data.address:
        looks.append(("faces", partial(_faces, experiment.data)))
    return side_by_side(SHARED, looks)


def _stores_of(experiment: Experiment | None) -> tuple[str, str]:
    registry = experiment.registry if experiment else Registry()
    search = experiment.search if experiment else Search()
    return registry.tracking_uri, search.storage


def _registry(uri: str) -> Answer:
    from visage.registry.store import database_of, open_store

    database = database_of(uri)
    if database and not database.exists():
        return ("good", f"{database} will be made", "")
    open_store(uri)
    return ("good", "answers", "")


def _database(address: str) -> Answer:
    from visage.search.study.database import answers

    return ("good", "answers" if answers(address) else "will be made", "")


def _faces(data: Data) -> Answer:
    assert data.address
    there = Store(data.address).read("set.json") is not None
    return faces_at(data.address, there, data.source, data.layout == "synthetic")


def _versions(there: Mapping[str, str], here: Mapping[str, str]) -> Answer:
    """here: the driver's."""
    different = [f"{name} {there[name]} and not {here[name]}" for name in SAME if there[name] != here[name]]
    if different:
        return ("broken", ", ".join(different), "give all nodes one image, or install the same there")
    return ("good", ", ".join(f"{name} {there[name]}" for name in SAME), "")


def _clock(at: float, began: float, ended: float) -> Answer:
    apart = max(began - at, at - ended, 0.0)
    if apart <= CLOCKS_SECONDS:
        return ("good", "as the driver's", "")
    mend = "let it follow a time server; keys of a bucket are refused where clocks differ"
    return ("doubtful", f"{apart:.0f} s from the driver's", mend)


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
