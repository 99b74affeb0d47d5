"""Runs in MLflow for whoever only looks at them: nothing here makes a store, an experiment or a run."""

from typing import TYPE_CHECKING

from visage.errors import UserError
from visage.registry.store import absolute, database_of, open_store, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient


def curve(client: "MlflowClient", run_id: str, metric: str) -> list[tuple[int, float]]:
    """The metric's curve: (step, value) by step, the last where a step was told again; empty without the metric."""
    points = client.get_metric_history(run_id, metric)
    return sorted({point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}.items())


class Reader:
    """uri: as `Tracking`'s. Raises UserError as `open_store`, and for an SQLite store that is not there; its methods do
    when the store refuses."""

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri)
        database = database_of(self.uri)
        if database and not database.is_file():
            raise UserError(f"tracking_uri = {uri}: is not there; look from the folder where the study was begun.")
        self.client = open_store(self.uri)

    def curve(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """As the function of that name."""
        with store_faults(self.uri):
            return curve(self.client, run_id, metric)
