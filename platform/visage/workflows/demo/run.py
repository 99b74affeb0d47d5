"""The whole road on procedural faces: prepare, tune, register, gate, serve, query, report."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from visage.config import Access, Experiment, Serving, read_config
from visage.errors import UserError
from visage.workflows.models import print_promotion, print_published
from visage.workflows.search import publish_best
from visage.workflows.terminal import console, study_bar
from visage.workflows.training import judges_of, prepare_faces

if TYPE_CHECKING:
    from visage.client import Answer
    from visage.faces.faceset import FaceSet

CONFIG = Path("configs/demo.yaml")
OUT = Path("runs/demo")


def run(keep: bool = False) -> None:
    """Write runs/demo/ anew: result.json, report.html, faces.png. keep: leave the endpoint on until Ctrl-C."""
    from serve_app.app import serve, stop
    from visage.infra.ray_session import local_ray
    from visage.registry.models import Registry
    from visage.registry.record import seen
    from visage.search.report.mlflow_run import conclude
    from visage.search.tune import tune
    from visage.workflows.demo.report import write_report
    from visage.workflows.demo.size import sized

    experiment = read_config(Experiment, CONFIG)
    if OUT.exists():
        shutil.rmtree(OUT)
    seconds: dict[str, float] = {}
    with _stage("prepare", seconds):
        faces = prepare_faces(experiment.data)
    with _stage("judges", seconds):
        networks = judges_of(faces, experiment.judge)
    with _stage("measure", seconds):
        experiment = sized(experiment, faces, networks)
        console.print(f"this machine trains {experiment.train.images} images a trial in about a minute")
    with local_ray(dashboard=False):
        with _stage("tune", seconds), study_bar() as progress:
            study = tune(experiment, progress=progress, tags=seen(faces, networks))
        if study.best is None:
            raise UserError(f"search.name = {study.name}: no trial was completed; see runs/demo/studies.")
        with _stage("register", seconds):
            published = publish_best(experiment, study.best, OUT / "bundle", faces, networks)
            print_published(published)
        with _stage("gate", seconds):
            promotion = Registry(experiment.registry.tracking_uri).promote(published.model)
            conclude(experiment, study, promotion)
            print_promotion(promotion, experiment.registry.tracking_uri)
        access = Access(required=False)  # on this machine alone, as long as the demo lasts
        # What the gate found too poor is looked at too.
        served = f"{published.name}@champion" if promotion.alias == "champion" else published.model
        serving = Serving(model=served, tracking_uri=experiment.registry.tracking_uri, port=_port(), access=access)
        try:
            with _stage("serve", seconds):
                url = serve(serving, block=False)
            with _stage("query", seconds):
                answer, status, latency = _query(url, faces)
            rows = {
                row: {name: asdict(estimate) for name, estimate in found.metrics.items()}
                for row, found in published.evaluation.rows.items()
            }
            result = {
                "study": {name: getattr(study, name) for name in ("name", "trials", "complete", "pruned", "failed")},
                "model": {"name": published.name, "version": published.version, "alias": promotion.alias},
                "metrics": rows["model"],
                "rows": rows,
                "mlflow": {
                    "tracking_uri": experiment.registry.tracking_uri,
                    "experiment": experiment.registry.experiment,
                    "run_id": study.best.run_id,
                },
                "endpoint": {"url": url, "status": status, "latency_ms": round(latency, 1)},
                "seconds": seconds,
            }
            shutil.copyfile(published.bundle / "faces.png", OUT / "faces.png")
            with _stage("report", seconds):
                write_report(OUT / "report.html", result, experiment, published.evaluation, answer, OUT / "faces.png")
            (OUT / "result.json").write_text(json.dumps(result, indent=1))
            _closing(experiment, served)
            if keep:
                console.print(f"the endpoint answers at {url}/docs; Ctrl-C stops it")
                with suppress(KeyboardInterrupt):
                    threading.Event().wait()
        finally:
            stop()


def _query(url: str, faces: "FaceSet") -> "tuple[Answer, int, float]":
    """A test person's neutral face with every expression; status and milliseconds of a warm request for one."""
    import httpx

    from visage.client import Client
    from visage.faces.picture import encode_picture

    neutral = faces.expressions.index("neutral")
    picture = next(k for k in faces.part("test") if faces.expression[k] == neutral)
    png = encode_picture(faces.faces[picture])
    with Client(url) as client:
        answer = client.expressions(png, aligned=True)
    form = {"expression": "happy", "aligned": "true"}
    with httpx.Client(timeout=60) as http:
        http.get(f"{url}/v1/model")  # the connection stands before the clock runs
        started = time.perf_counter()
        response = http.post(f"{url}/v1/expressions", data=form, files={"image": png})
    return answer, response.status_code, 1000 * (time.perf_counter() - started)


def _closing(experiment: Experiment, served: str) -> None:
    store = experiment.registry.tracking_uri
    console.print(f"look at {OUT / 'report.html'} and {OUT / 'faces.png'}; figures: {OUT / 'result.json'}")
    console.print(f"browse the runs:  visage ui --registry {store}")
    console.print(f"serve the model:  visage serve --set tracking_uri={store} --set model={served}")


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    console.rule(name)
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 1)


def _port() -> int:
    """The usual port, or a free one where it is taken: a demo need not stop what runs there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", 8000))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
