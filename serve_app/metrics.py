"""What the endpoint exports to Prometheus, by Ray's metrics: on each node, with `ray_` before each name."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ray.serve.metrics import Gauge

    from serve_app.batcher import Batches
    from serve_app.inference import Done, Job
    from serve_app.loaded_model import Model
    from serve_app.model_reloader import Event

    Run = Callable[[Sequence[Job]], Sequence[Done]]

SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
FACES = [1.0, 2, 4, 8, 16, 32, 64]
VALUES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1]
# The quantiles that a card holds of each self-check value, and a rank for each band between them.
QUANTILES = [0.05, 0.25, 0.5, 0.75, 0.95]
BANDS = np.array([0.025, 0.15, 0.375, 0.625, 0.85, 0.975])
# Values that differ by less are the same: a saturated classifier says 1.0, 0.99998 in bfloat16.
RESOLUTION = 3
REFRESH_SECONDS = 5  # Ray forgets a gauge that nobody sets anew


def ranks(values: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Where values stand among those at registration: 0..1, by bands; 0.05 of them below 0.05 where nothing changed.

    A value that equals quantiles stands in their middle, as else a reference that is constant would look like drift.
    """
    edges, values = np.round(quantiles, RESOLUTION), np.round(values, RESOLUTION)
    low, high = np.searchsorted(edges, values, "left"), np.searchsorted(edges, values, "right")
    return (BANDS[low] + BANDS[high]) / 2


class Meters:
    """The meters of one replica. Ray Serve adds deployment, replica and application to each."""

    def __init__(self) -> None:
        from ray.serve.metrics import Counter, Gauge, Histogram

        # Ray's hints allow a single tag; it takes any number.
        by: Any = ("path", "status", "caller")
        self._requests = Counter("visage_requests", "requests answered", by)
        self._seconds = Histogram("visage_request_seconds", "from headers to answer", SECONDS, ("path",))
        self._open = Gauge("visage_requests_in_progress", "requests being answered")
        self._in_progress = 0
        self._waiting = Gauge("visage_jobs_waiting", "requests whose picture waits for the networks")
        self._batches: Batches[Job, Done] | None = None
        self._faces = Counter("visage_faces", "faces made")
        self._batch = Histogram("visage_batch_faces", "faces of one forward pass", FACES)
        self._batch_seconds = Histogram("visage_batch_seconds", "one forward pass with its small pictures", SECONDS)
        by = ("model", "check")
        self._value = Histogram("visage_self_check", "values of the self-check", VALUES, by)
        self._rank = Histogram("visage_self_check_rank", "where they stand among those at registration", QUANTILES, by)
        by = ("model", "check", "quantile")
        self._reference = Gauge("visage_self_check_reference", "quantiles of those at registration", by)
        self._version = Gauge("visage_model_version", "version that answers; 0: a folder")
        self._ready = Gauge("visage_model_ready", "1 when a model can answer")
        self._loads = Counter("visage_model_loads", "models that took their place")
        self._refusals = Counter("visage_model_refusals", "attempts with a version that failed its checks")
        self._refused = Gauge("visage_model_refused", "1 while a version is refused")
        self._shown: set[str] = set()
        self._values: dict[tuple[Gauge, tuple[tuple[str, str], ...]], float] = {}
        for gauge in (self._ready, self._refused, self._open, self._waiting):
            self._show(gauge, 0)
        threading.Thread(target=self._refresh, daemon=True).start()

    def _show(self, gauge: "Gauge", value: float, **tags: str) -> None:
        """Set a gauge, from now on until it is set to something else."""
        self._values[gauge, tuple(tags.items())] = value
        gauge.set(value, tags)

    def _refresh(self) -> None:
        while True:
            time.sleep(REFRESH_SECONDS)
            self._show(self._waiting, self._batches.waiting if self._batches else 0)
            for (gauge, tags), value in list(self._values.items()):
                gauge.set(value, dict(tags))

    def began(self) -> None:
        self._in_progress += 1
        self._show(self._open, self._in_progress)

    def ended(self, path: str, status: int, caller: str, seconds: float) -> None:
        self._in_progress -= 1
        self._show(self._open, self._in_progress)
        self._requests.inc(tags={"path": path, "status": str(status), "caller": caller})
        self._seconds.observe(seconds, {"path": path})

    def watch(self, batches: "Batches[Job, Done]") -> None:
        """Whose waiting jobs are shown."""
        self._batches = batches

    def measured(self, run: "Run") -> "Run":
        """`run` as it is, with each pass of it measured, in the thread of the networks."""

        def run_and_note(jobs: "Sequence[Job]") -> "Sequence[Done]":
            started = time.perf_counter()
            results = run(jobs)
            self._note(jobs, results, time.perf_counter() - started)
            return results

        return run_and_note

    def _note(self, jobs: "Sequence[Job]", results: "Sequence[Done]", seconds: float) -> None:
        """One forward pass, and the self-check values that came with it."""
        faces = sum(len(job.wanted) for job in jobs)
        self._faces.inc(faces)
        self._batch.observe(faces)
        self._batch_seconds.observe(seconds)
        for job, done in zip(jobs, results, strict=True):
            self._show_reference(job.model)
            # The reference is of full intensity; of an animation it is the last picture that is checked.
            full = np.array([intensity == 1 for _, intensity in job.wanted])
            for name, values in (
                ("identity_similarity", done.edited.similarity),
                ("expression_confidence", done.edited.confidence),
                ("natural", done.edited.natural),
            ):
                self._observe(job.model, name, values, full)

    def _observe(self, model: "Model", name: str, values: np.ndarray, full: np.ndarray) -> None:
        tags, there = {"model": model.label, "check": name}, ~np.isnan(values)
        for value in values[there]:
            self._value.observe(float(value), tags)
        quantiles = model.quantiles.get(name, {})
        if list(map(float, quantiles)) == QUANTILES:
            for rank in ranks(values[there & full], list(quantiles.values())):
                self._rank.observe(float(rank), tags)

    def heard(self, event: "Event", version: int | None) -> None:
        """What became of a version, as the holder tells it."""
        if event == "refused":
            self._refusals.inc()
        if event == "loaded":
            self._loads.inc()
            self._show(self._ready, 1)
            self._show(self._version, version or 0)
        self._show(self._refused, int(event == "refused"))

    def _show_reference(self, model: "Model") -> None:
        if model.label in self._shown:
            return
        self._shown.add(model.label)
        for name, quantiles in model.quantiles.items():
            for quantile, value in quantiles.items():
                self._show(self._reference, value, model=model.label, check=name, quantile=quantile)
