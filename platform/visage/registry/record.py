"""What a run keeps of itself, read back: enough to do it again."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.config import Experiment, read_config, replaced, written
from visage.config.experiment import Train
from visage.errors import UserError
from visage.registry.store import if_there, open_store, store_faults
from visage.registry.tracking import EXPERIMENT, PARENT, flattened

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks

FACES, JUDGES, THREADS = "visage.data_sha256", "visage.judges_sha256", "visage.threads"
CHANGED = "visage.changed"  # of a run that went on with other settings than its record has


@dataclass(frozen=True)
class RunRecord:
    """A run in MLflow. experiment: as it began. tags: all of its tags."""

    run_id: str
    name: str
    experiment: Experiment
    tags: Mapping[str, str]

    @property
    def threads(self) -> int | None:
        """CPU threads of its training in one process: sums in another order give other bits."""
        return int(self.tags[THREADS]) if THREADS in self.tags else None


def seen(faces: "FaceSet", networks: "FaceNetworks") -> dict[str, str]:
    """Tags that say by hash what a training sees."""
    return {FACES: faces.sha256, JUDGES: networks.sha256}


def read_record(uri: str, run_id: str, settings: Sequence[str] = ()) -> RunRecord:
    """The record of a run in the store at `uri`, with `key.path=value` settings laid over its experiment.

    Raises UserError for a run that is not there, keeps no experiment, or is the run of a whole study.
    """
    client = open_store(uri)
    with store_faults(uri):
        run = if_there(lambda: client.get_run(run_id))
        if run is None:
            raise UserError(f"run {run_id}: is not in {uri}; give a run_id as `visage ui` shows it.")
        kept = {item.path for item in client.list_artifacts(run_id)}
    kind = run.data.tags.get("visage.kind")
    if kind == "study":
        raise UserError(
            f"run {run_id}: is the whole study {run.info.run_name}; give the run_id of one of its trials, or repeat "
            f"the study with `visage tune` and the {EXPERIMENT} among its artifacts."
        )
    holder, values = run_id, dict[str, str]()
    if EXPERIMENT not in kept:  # a trial has what differs from its study
        holder, values = run.data.tags.get(PARENT, ""), dict(run.data.params)
        if kind != "trial" or not holder or not values:
            raise UserError(
                f"run {run_id}: keeps no {EXPERIMENT}, so it is no training or of an older Visage; give another "
                "run_id, as `visage ui` shows it."
            )
    with tempfile.TemporaryDirectory(prefix="visage-") as folder:
        with store_faults(uri):
            file = Path(client.download_artifacts(holder, EXPERIMENT, folder))
        own = f"train.storage={Train().storage or 'null'}"  # a bucket of the cluster may not be this machine's to use
        if values:
            begun = read_config(Experiment, file)
            chosen = {path: _value(begun, path, text) for path, text in values.items()}
            file.write_text(written(replaced(begun, chosen)))
        experiment = read_config(Experiment, file, [own, *settings, f"registry.tracking_uri={uri}"])
    return RunRecord(run_id, run.info.run_name or run_id, experiment, dict(run.data.tags))


def _value(experiment: Experiment, path: str, text: str) -> Any:
    """A parameter's value from its text in MLflow; of a searched choice the one that is written so."""
    dimension = experiment.search.space.get(path)
    for choice in (dimension and dimension.choice) or ():
        if dict(flattened({path: choice}))[path] == text:
            return choice
    with suppress(ValueError):
        return json.loads(text)
    return text


def check_faces(record: RunRecord, faces: "FaceSet", networks: "FaceNetworks") -> str:
    """Refuse faces that the run did not see; what else differs, as a sentence, or an empty string."""
    if record.tags.get(FACES, faces.sha256) != faces.sha256:
        raise UserError(
            f"data.dir = {faces.dir}: are not the faces that run {record.run_id} saw (sha256 "
            f"{record.tags[FACES][:12]}); give that face set with --set data.dir=DIR."
        )
    if CHANGED in record.tags:
        return f"that run went on with other settings ({record.tags[CHANGED]}), and this repeats what it began with"
    if record.tags.get(JUDGES, networks.sha256) != networks.sha256:
        return "the face set's judges were trained again since that run, so its figures will not come back to the bit"
    return ""


def changed(begun: Path, now: Experiment) -> str:
    """What decides a run's numbers and is other than in its experiment.yaml, as "NAME = VALUE, was VALUE"; an empty
    string for nothing, and for a file that this Visage cannot read."""
    try:
        before = dict(flattened(read_config(Experiment, begun).decides()))
    except UserError:
        return ""
    told = dict(flattened(now.decides()))
    names = sorted(name for name in before.keys() | told.keys() if before.get(name) != told.get(name))
    return "; ".join(f"{name} = {told.get(name, 'none')}, was {before.get(name, 'none')}" for name in names)
