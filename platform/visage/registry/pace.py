"""How fast trainings of a kind were, by what MLflow has of earlier ones."""

from collections.abc import Mapping

from visage.registry.store import database_of, every, if_there, open_store, store_faults
from visage.registry.tracking import STATE


def pace(uri: str, experiment: str, params: Mapping[str, str]) -> tuple[str, float] | None:
    """Name and seconds per image, with evaluation and registration, of the last complete training of these parameters;
    None where there was none. Makes no store. Raises UserError where the store does not answer."""
    database = database_of(uri)
    if database and not database.exists():
        return None
    client = open_store(uri)
    kept = " AND ".join(f"params.`{name}` = '{value}'" for name, value in params.items())
    with store_faults(uri):
        there = if_there(lambda: client.get_experiment_by_name(experiment))
        if there is None:
            return None
        query = f"tags.`{STATE}` = 'complete' AND {kept}"
        order = ["attributes.start_time DESC"]
        found = every(client.search_runs, experiment_ids=[there.experiment_id], filter_string=query, order_by=order)
    for run in found:
        if run.data.tags.get("visage.kind") in ("train", "final") and run.info.end_time:
            seconds = (run.info.end_time - run.info.start_time) / 1000
            return run.info.run_name, seconds / float(run.data.params["train.images"])
    return None
