"""Face sets as MLflow's datasets: which faces a run saw, on its page and to search by."""

import json
from typing import TYPE_CHECKING, Any

from visage.config.data import Data
from visage.registry.store import store_faults

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

    from visage.registry.tracking import RunLog

DIGEST = 12  # letters of the hash, as Visage's sentences have them; MLflow keeps 36


def log_faces(run: "RunLog", data: Data) -> None:
    """Note the face set of a data section as the dataset of a run: its name, hash, size and counts. Nothing where there
    is no face set, and nothing twice."""
    log_dataset(run, dataset_of(data))


def log_dataset(run: "RunLog", dataset: "DatasetInput | None") -> None:
    """The same, of a face set that `dataset_of` has read."""
    if dataset is not None:
        with store_faults(run.uri):
            run.client.log_inputs(run.run_id, [dataset])


def dataset_of(data: Data) -> "DatasetInput | None":
    """The face set of a data section, as MLflow has it. None where there is no face set."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    try:
        facts: dict[str, Any] = json.loads((data.dir / "set.json").read_text())
    except FileNotFoundError:
        return None
    dataset = Dataset(
        name=facts["name"],
        digest=facts.get("shards", facts)["sha256"][:DIGEST],
        source_type="s3" if data.address else "local",
        source=json.dumps({"uri": data.address or str(data.dir.absolute())}),
        profile=json.dumps(_profile(facts)),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def _profile(facts: dict[str, Any]) -> dict[str, Any]:
    """What MLflow's page lists, a line each; it knows `num_rows`."""
    counts, inside = facts["counts"], facts.get("shards")
    lines = {
        "num_rows": counts["pictures"],
        "pixels": facts["size"],
        "people": counts["people"],
        **{f"people_{part}": count for part, count in counts["people_of_parts"].items()},
        **{f"pictures_{expression}": count for expression, count in counts["pictures_of_expressions"].items()},
        **({"num_rows_in_shards": inside["pictures"], "people_in_shards": inside["people"]} if inside else {}),
        "licence": facts["licence"],
    }
    return {name: value for name, value in lines.items() if value != ""}
