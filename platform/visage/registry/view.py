"""What MLflow's pages open on: the runs of an experiment by their score, with what was searched beside it.

MLflow keeps a view that is shared as a tag of the experiment, under a key that the page's address names.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from visage.registry.store import every, open_store, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # else the pages open on traces
KEY = "visage"
SHARED = f"mlflow.sharedViewState.{KEY}"
FIRST = ("score", "identity_similarity", "expression_probability", "au_agreement")  # each method has most of them
MOST = 8  # searched values that have a column


def prepare_view(client: "MlflowClient", experiment_id: str, searched: Sequence[str] = ()) -> None:
    """Let the experiment's page show its runs, the best score first. searched: dotted names of what a study searches,
    whose columns stand before those of earlier ones."""
    tags = client.get_experiment(experiment_id).tags
    if KIND not in tags:
        client.set_experiment_tag(experiment_id, KIND, TRAINING)
    before = _searched(tags.get(SHARED, ""))
    names = list(dict.fromkeys([*searched, *before]))[:MOST]
    if SHARED not in tags or names != before:
        client.set_experiment_tag(experiment_id, SHARED, json.dumps(_state(names)))


def views(uri: str) -> list[str]:
    """The paths of the prepared views of a store's pages; of the experiment that changed last first."""
    client = open_store(uri)
    with store_faults(uri):
        found = every(client.search_experiments, order_by=["last_update_time DESC"])
    return [view(each.experiment_id) for each in found if SHARED in each.tags]


def view(experiment_id: str) -> str:
    """The path of the prepared view of an experiment."""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={KEY}"


def _searched(state: str) -> list[str]:
    """What a state was made for; nothing of one that somebody else has put there."""
    try:
        return [str(name) for name in json.loads(state)["searched"]]
    except (ValueError, KeyError, TypeError):
        return []


def _state(searched: Sequence[str]) -> dict[str, object]:
    """The state of MLflow's table of runs; it passes over `searched`, which is for the next study."""
    score, *parts = (f"metrics.`{name}`" for name in FIRST)
    columns = [score, *(f"params.`{name}`" for name in searched), *parts, "tags.`visage.state`", "tags.`visage.study`"]
    return {
        "searched": list(searched),
        "orderByKey": "metrics.`score`",
        "orderByAsc": False,
        "searchFilter": "",
        "selectedColumns": columns,
        "columnOrder": columns,
    }
