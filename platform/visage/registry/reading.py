"""Runs in MLflow for whoever only looks at them: nothing here makes a store, an experiment or a run."""

import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from visage.errors import UserError
from visage.registry.store import absolute, database_of, every, if_there, open_store, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FACES = "faces"  # among a run's artifacts: pictures by the images seen
PNG = b"\x89PNG\r\n\x1a\n"


def curve(client: "MlflowClient", run_id: str, metric: str) -> list[tuple[int, float]]:
    """The metric's curve: (step, value) by step, the last where a step was told again; empty without the metric."""
    points = client.get_metric_history(run_id, metric)
    return sorted({point.step: point.value for point in sorted(points, key=lambda point: point.timestamp)}.items())


def faces(client: "MlflowClient", run_id: str) -> set[str]:
    """The names of the pictures under faces/."""
    return {PurePosixPath(item.path).name for item in client.list_artifacts(run_id, FACES)}


@dataclass(frozen=True)
class Facts:
    """A run. metrics: the last of each. data: name and first letters of the hash of the faces that it saw; empty where
    it notes none. counts: of those faces, by name. page: its path in MLflow's pages."""

    run_id: str
    name: str
    experiment_id: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    data: tuple[str, str]
    counts: Mapping[str, Any]
    page: str


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

    def evaluations(self, run_id: str) -> list[int]:
        """The images seen at each picture of a run, in order."""
        with store_faults(self.uri):
            names = faces(self.client, run_id)
        stems = (name.removesuffix(".png") for name in names if name.endswith(".png"))
        return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())

    def face(self, run_id: str, images: int) -> bytes:
        """The picture of a run after so many images, a PNG."""
        return self.picture(run_id, f"{FACES}/{images:08d}.png")

    def picture(self, run_id: str, place: str) -> bytes:
        """A picture among a run's files, a PNG."""
        with tempfile.TemporaryDirectory(prefix="visage-") as folder, store_faults(self.uri):
            content = Path(self.client.download_artifacts(run_id, place, folder)).read_bytes()
        if not content.startswith(PNG):
            raise UserError(f"run {run_id}: its {place} is no PNG, so another program wrote it; remove it.")
        return content

    def run(self, run_id: str) -> Facts | None:
        """A run; None for one that is not there."""
        with store_faults(self.uri):
            found = if_there(lambda: self.client.get_run(run_id))
        return self._facts(found) if found else None

    def runs(self, experiment_id: str, query: str) -> list[Facts]:
        """The runs of an experiment that MLflow's query finds."""
        with store_faults(self.uri):
            found: Iterable[Run] = every(self.client.search_runs, experiment_ids=[experiment_id], filter_string=query)
        return [self._facts(each) for each in found]

    def _facts(self, run: "Run") -> Facts:
        info, seen = run.info, run.inputs.dataset_inputs if run.inputs else []
        data = seen[0].dataset if seen else None
        return Facts(
            run_id=info.run_id,
            name=info.run_name or "",
            experiment_id=info.experiment_id,
            params=run.data.params,
            tags=run.data.tags,
            metrics=run.data.metrics,
            data=(data.name, data.digest) if data else ("", ""),
            counts=json.loads(data.profile or "{}") if data else {},
            page=f"/#/experiments/{info.experiment_id}/runs/{info.run_id}",
        )
