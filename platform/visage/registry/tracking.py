"""Runs in MLflow: parameters, curves, pictures and endings."""

import getpass
import json
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from visage.config import Experiment, written
from visage.config.read import without_passwords
from visage.errors import UserError
from visage.registry.reading import FACES, curve, faces
from visage.registry.store import absolute, database_of, every, if_there, open_store, store_faults
from visage.registry.ui import prepare_view
from visage.registry.versions import versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

State = Literal["complete", "pruned", "diverged", "failed", "killed"]
STATUS = {
    "complete": "FINISHED",
    "pruned": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "killed": "KILLED",
}
PARENT = "mlflow.parentRunId"
STATE = "visage.state"
PAGE = "visage.page"  # the address of the study's page
NOTE = "mlflow.note.content"  # what MLflow's page of a run shows as its description
EXPERIMENT = "experiment.yaml"
PARAM_LENGTH, TAG_LENGTH = 6_000, 8_000  # MLflow's limits
BATCH, POINTS = 100, 800  # parameters or tags, and metrics, of one call; it takes a thousand of all together
NOTHING: Mapping[str, str] = {}
Point = tuple[int, Mapping[str, float]]  # step, metrics by name


class Tracking:
    """The runs of one MLflow experiment.

    uri: `sqlite:///PATH` (pictures and files lie beside it in mlartifacts/) or a server's address. experiment: its
    name, made if it is not there. Raises UserError as `open_store`; each method does when the store refuses.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = absolute(uri)
        self.client = open_store(uri)
        with store_faults(self.uri):
            self.experiment_id = self._experiment(experiment)

    def start_run(
        self,
        name: str,
        parent: str | None = None,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        experiment: Experiment | None = None,
        once: Mapping[str, str] = NOTHING,
    ) -> "RunLog":
        """A new run. parent: the run_id of its study. params: nested or flat; kept under dotted names.

        once: tags that no other run of the parent has; a run that has them, as its start was not answered or the one
        who asked for it died, is taken, so that none is left behind.

        experiment: kept whole as experiment.yaml, for `visage train --from-run`; MLflow cuts long parameters.
        """
        given = {**_provenance(), STATE: "running", **(tags or {}), **once}
        if parent:
            given[PARENT] = parent
        with store_faults(self.uri):
            begun = self._started({PARENT: given[PARENT], **once}) if once else None
        if begun:
            log = self.continue_run(begun)
        else:
            with store_faults(self.uri):
                created = self.client.create_run(self.experiment_id, tags=given, run_name=name)
            log = self.run(created.info.run_id)
        try:
            log.record(params=params or {})
            if experiment:
                log.picture(written(experiment).encode(), EXPERIMENT)
        except UserError:  # no run is left behind that seems to be running
            with suppress(UserError):
                log.finish("failed")
            raise
        return log

    def show(self, searched: Sequence[str] = ()) -> None:
        """Prepare what MLflow's pages open on; see `ui.prepare_view`."""
        with store_faults(self.uri):
            prepare_view(self.client, self.experiment_id, searched)

    def has(self, run_id: str) -> bool:
        """Whether a run is in this store, and not deleted."""
        with store_faults(self.uri):
            run = if_there(lambda: self.client.get_run(run_id))
        return run is not None and bool(run.info.lifecycle_stage == "active")

    def continue_run(self, run_id: str) -> "RunLog":
        """A run that ended or was cut off, running again."""
        with store_faults(self.uri):
            self.client.update_run(run_id, status="RUNNING")
            self.client.set_tag(run_id, STATE, "running")
        return RunLog(self.client, self.uri, run_id)

    def run(self, run_id: str) -> "RunLog":
        """A run to write to, left in the state that it is in."""
        return RunLog(self.client, self.uri, run_id)

    def children(self, parent: str, tag: str) -> dict[str, tuple[str, str]]:
        """The runs of a parent by the value of a tag that each has: (run_id, state), the state empty where the end of
        the run was not wholly told."""
        with store_faults(self.uri):
            query = f"tags.`{PARENT}` = '{parent}'"
            found = every(self.client.search_runs, experiment_ids=[self.experiment_id], filter_string=query)
        runs = {}
        for run in found:
            if tag in run.data.tags:
                state = run.data.tags.get(STATE, "")
                runs[run.data.tags[tag]] = run.info.run_id, state if STATUS.get(state) == run.info.status else ""
        return runs

    def params(self, run_id: str) -> dict[str, str]:
        """The parameters of a run, by dotted name."""
        with store_faults(self.uri):
            return dict(self.client.get_run(run_id).data.params)

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """The metric's curve: (step, value) by step, the last where a step was told again; empty without the metric."""
        with store_faults(self.uri):
            return curve(self.client, run_id, metric)

    def _started(self, tags: Mapping[str, str]) -> str | None:
        """The run_id of the run that has these tags."""
        query = " AND ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self.client.search_runs([self.experiment_id], query, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            database = database_of(self.uri)
            location = (database.parent / "mlartifacts").as_uri() if database else None
            try:
                return self.client.create_experiment(name, artifact_location=location)
            except MlflowException:  # another process was quicker
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise UserError(f"registry.experiment = {name}: was deleted in MLflow; restore it or give another name.")
        return found.experiment_id


class RunLog:
    """Writes to one run, whose id is `run_id`."""

    def __init__(self, client: "MlflowClient", uri: str, run_id: str) -> None:
        self.client, self.uri, self.run_id = client, uri, run_id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Metrics at a step (images seen, in training), in one call."""
        self.record([(step, metrics)])

    def record(
        self, points: Iterable[Point] = (), params: Mapping[str, Any] = NOTHING, tags: Mapping[str, str] = NOTHING
    ) -> None:
        """Metrics at several steps, parameters (nested or flat, kept under dotted names) and tags, in one call where
        they fit into one: each call costs the same, whatever it carries."""
        from mlflow.entities import Metric, Param, RunTag

        now = time.time_ns() // 1_000_000
        metrics = [Metric(name, float(value), now, step) for step, values in points for name, value in values.items()]
        kept = [Param(key, without_passwords(value)[:PARAM_LENGTH]) for key, value in flattened(params)]
        given = [RunTag(name, without_passwords(value)[:TAG_LENGTH]) for name, value in tags.items()]
        with store_faults(self.uri):
            while metrics or kept or given:
                self.client.log_batch(self.run_id, metrics[:POINTS], kept[:BATCH], given[:BATCH])
                del metrics[:POINTS], kept[:BATCH], given[:BATCH]

    def tag(self, name: str, value: str) -> None:
        with store_faults(self.uri):
            self.client.set_tag(self.run_id, name, without_passwords(value))

    def note(self, text: str) -> None:
        """The run's description, in Markdown; what is too long for MLflow is cut off."""
        self.tag(NOTE, text[:TAG_LENGTH])

    def picture(self, content: bytes | Path, name: str) -> None:
        """A picture, figure or page (PNG, JSON, HTML), as bytes or a file; `name` may have folders."""
        target = PurePosixPath(name)
        folder = "" if target.parent == PurePosixPath(".") else str(target.parent)
        with tempfile.TemporaryDirectory(prefix="visage-") as temporary, store_faults(self.uri):
            file = Path(temporary) / target.name
            file.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            self.client.log_artifact(self.run_id, str(file), folder or None)

    def artifacts(self, folder: Path, name: str) -> None:
        """All files of a folder, kept under `name`."""
        with store_faults(self.uri):
            self.client.log_artifacts(self.run_id, str(folder), name)

    def faces(self) -> set[str]:
        """The names of the pictures under faces/."""
        with store_faults(self.uri):
            return faces(self.client, self.run_id)

    def add_faces(self, pictures: Mapping[str, bytes]) -> None:
        """Pictures under faces/, by their names, in one call."""
        with tempfile.TemporaryDirectory(prefix="visage-") as temporary, store_faults(self.uri):
            for name, picture in pictures.items():
                (Path(temporary) / name).write_bytes(picture)
            self.client.log_artifacts(self.run_id, temporary, FACES)

    def finish(
        self,
        state: State,
        tags: Mapping[str, str] = NOTHING,
        points: Iterable[Point] = (),
        params: Mapping[str, Any] = NOTHING,
    ) -> None:
        """End the run: MLflow's status, and the finer state as the tag visage.state; with it, in one call, what else
        there is to record."""
        self.record(points, params, {STATE: state, **tags})
        with store_faults(self.uri):
            self.client.set_terminated(self.run_id, STATUS[state])


def flattened(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values as text: text as it stands, all else as JSON."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, default=str)


@lru_cache(maxsize=1)
def _provenance() -> Mapping[str, str]:
    """What made the run: versions, and the commit when Visage runs from a checkout."""
    made = versions()
    tags = {"mlflow.source.name": "visage", "visage.python": made.pop("python")}
    tags |= {f"visage.version.{package}": number for package, number in made.items()}
    with suppress(KeyError, OSError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    commit = _commit()
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _commit() -> str | None:
    """The commit of the checkout that this file is tracked in; None for an installed package."""
    here = Path(__file__)
    try:
        for command in (["ls-files", "--error-unmatch", here.name], ["rev-parse", "HEAD"]):
            done = subprocess.run(
                ["git", "-C", str(here.parent), *command], capture_output=True, text=True, timeout=5, check=True
            )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
