"""How fast trainings of a kind were, by what MLflow has of earlier ones."""

from collections.abc import Mapping

from visage.registry.store import database_of, every, if_there, open_store, store_faults
from visage.registry.tracking import PARENT, STATE

LATEST = ["attributes.start_time DESC"]


def pace(uri: str, experiment: str, params: Mapping[str, str]) -> tuple[str, float] | None:
    """Name and seconds per image, with evaluation and registration, of the last complete training of these parameters,
    or of a study's last complete trial; None where there was none. Makes no store. Raises UserError where the store
    does not answer."""
    database = database_of(uri)
    if database and not database.exists():
        return None
    client = open_store(uri)
    complete = f"tags.`{STATE}` = 'complete'"
    kept = " AND ".join([complete, *(f"params.`{name}` = '{value}'" for name, value in params.items())])
    with store_faults(uri):
        there = if_there(lambda: client.get_experiment_by_name(experiment))
        if there is None:
            return None
        home = [there.experiment_id]
        for run in every(client.search_runs, experiment_ids=home, filter_string=kept, order_by=LATEST):
            kind, timed = run.data.tags.get("visage.kind"), run
            if kind == "study":  # a trial has as its own parameters what differs from its study's
                trials = f"{complete} AND tags.`visage.kind` = 'trial' AND tags.`{PARENT}` = '{run.info.run_id}'"
                timed = next(iter(client.search_runs(home, trials, max_results=1, order_by=LATEST)), None)
            if kind in ("train", "final", "study") and timed and timed.info.end_time:
                seconds = (timed.info.end_time - timed.info.start_time) / 1000
                return timed.info.run_name, seconds / float(run.data.params["train.images"])
    return None
