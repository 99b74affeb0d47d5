"""The endpoint as a Ray Serve application: ONE deployment that holds gateway, aligner and generator.

Every further deployment costs a hop: measured with this ingress, one hop takes 1,165 requests a second down to 419,
far more than a hop could give back at the few milliseconds that a face takes. So each replica parses, decodes,
aligns (in threads of their own, and only photographs), runs the generator in batches (in another thread) and encodes.
Replicas scale together; the aligner alone would be worth a deployment where whole photographs on GPU replicas leave
the GPU waiting for MTCNN.
"""

import logging
import os
import signal
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.ingress import address, environment, is_served, require_free, wait_for_answers
from visage.config import Serving
from visage.errors import UserError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

NAME = "visage"
# The endpoint writes its own line for each request, which tells more than Serve's.
LOGGING = {"log_level": "WARNING", "encoding": "JSON", "enable_access_log": False}
NOTHING = {"num_cpus": 0}  # of a deployment that only counts
FLOOD = 1024  # requests of one replica, most of them still arriving


class Endpoint:
    """A replica: the model, the batches around it, and the HTTP application."""

    def __init__(
        self,
        settings: dict[str, Any],
        records: "DeploymentHandle | None" = None,
        rates: "DeploymentHandle | None" = None,
        worker: "DeploymentHandle | None" = None,
    ) -> None:
        import torch

        from serve_app.api_keys import Keys
        from serve_app.batcher import Batches
        from serve_app.batches.desk import Desk
        from serve_app.challenger.contest import Contest
        from serve_app.challenger.shadow import Quiet, Watch
        from serve_app.health import Health
        from serve_app.inference import Answers, faces_of, run_jobs
        from serve_app.logs import configure
        from serve_app.metrics import Meters
        from serve_app.middleware import Around
        from serve_app.model_reloader import POLL_SECONDS, SELDOM_SECONDS, Holder
        from serve_app.rate_limit import SharedLimiter
        from serve_app.routes import build_app
        from serve_app.webhook import Webhook, secret
        from visage.methods.requests import DRIVER

        serving = Serving.model_validate(settings)
        configure(serving.log)
        keys = Keys(serving.access.keys) if serving.access.required else None
        meters = Meters()
        around = Around(keys, SharedLimiter(rates) if rates else None, serving.access.origins, meters)
        cores = max(1, int(serving.replicas.num_cpus))
        begin = partial(torch.set_num_threads, cores)
        begin()
        limits, batching = serving.limits, serving.batching
        desk = Desk(serving.batches, worker.look.remote) if serving.batches and worker else None
        signed = secret()
        webhook = Webhook(signed) if signed else None
        hold = partial(Holder, poll_seconds=SELDOM_SECONDS if signed else POLL_SECONDS)
        held = hold(serving, tell=meters.heard)
        self._holders = [held]
        self._health = Health(held, limits.seconds)
        run = meters.measured(self._health.watched(run_jobs))
        self._batches = Batches(run, size=batching.size, wait_s=batching.wait_ms / 1000, weight=faces_of, begin=begin)
        meters.watch(self._batches)
        quiet = Quiet(self._batches)
        transfers = None
        if serving.transfer:
            carrying = serving.model_copy(update={"model": serving.transfer})
            transfers = hold(carrying, leaves=True, request=DRIVER)
            self._holders.append(transfers)
        contest = Contest(held)
        if serving.challenger and records:
            rival = hold(serving.model_copy(update={"model": serving.challenger.model}), leaves=True)
            self._holders.append(rival)
            watch = Watch(quiet, records.add.remote, batching.size)
            contest = Contest(held, rival, serving.challenger, watch, records.compared.remote)
        answers = Answers(quiet, megapixels=limits.megapixels, self_check=serving.self_check, cores=cores)
        self._app = build_app(held, answers, limits, contest, around, transfers, self._health, desk, webhook)

    def __serve_build_asgi_app__(self) -> "FastAPI":
        return self._app

    async def look_now(self) -> None:
        """A letter of MLflow's webhook came to one of the replicas; see `serve_app.webhook`."""
        for holder in self._holders:
            holder.look_now()

    async def check_health(self) -> None:
        """Serve asks every ten seconds. At the first no HAProxy hands this replica no more requests, at the third in a
        row another one takes its place."""
        await self._health.check(self._batches)


def build(serving: Serving) -> "Application":
    """The application of a serving configuration."""
    from ray import serve

    from serve_app.batches.worker import Worker
    from serve_app.challenger.records import Records
    from serve_app.rate_limit import Rates

    replicas = serving.replicas
    deployment = serve.deployment(
        name="Endpoint",
        # What a replica takes on is decided by its admission, which knows requests that are still arriving
        # from those that wait; Serve only holds off floods.
        max_ongoing_requests=max(FLOOD, 2 * serving.limits.queue),
        max_queued_requests=serving.limits.queue,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        autoscaling_config={
            "min_replicas": replicas.min,
            "max_replicas": replicas.max,
            "initial_replicas": max(1, replicas.min),
            "target_ongoing_requests": replicas.target_ongoing_requests,
            "upscale_delay_s": replicas.upscale_seconds,
            "downscale_delay_s": replicas.downscale_seconds,
        },
        ray_actor_options={"num_cpus": replicas.num_cpus, "num_gpus": replicas.num_gpus},
        # A new version of the code or of the settings starts beside the old one, which answers what it has begun.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=serving.limits.seconds,
        health_check_timeout_s=serving.limits.seconds + 10,
        logging_config=LOGGING,
    )(serve.ingress()(Endpoint))
    settings, others = serving.model_dump(mode="json"), {}
    # One more deployment is one more hop, so each is there only where it is asked for.
    aside = partial(serve.deployment, logging_config=LOGGING)
    if serving.challenger:
        others["records"] = aside(ray_actor_options=NOTHING)(Records).bind()
    if serving.access.rate:
        others["rates"] = aside(ray_actor_options=NOTHING)(Rates).bind(settings["access"]["rate"])
    if batches := serving.batches:
        needs = {"num_cpus": batches.num_cpus, "num_gpus": batches.num_gpus}
        # Its threads may hold Python's lock while they wait for a core, and nobody waits for its answers.
        patient = aside(ray_actor_options=needs, health_check_timeout_s=300)
        others["worker"] = patient(Worker).bind(settings)
    return deployment.bind(settings, **others)


_started: dict[str, bool] = {}


def serve(serving: Serving, *, block: bool) -> str:
    """Start the endpoint and return its address. `block=True` returns only after Ctrl-C or a SIGTERM, and stops it.

    Uses the Ray of this process if there is one, else starts its own. On a Ray that serves already, the code and the
    settings of this process take the place of those that are there, without a pause; it needs room for one more
    replica. Raises UserError, before anything is started, for a model that the registry does not have, a port in use,
    and resources that this machine does not have.
    """
    from serve_app.api_keys import Keys
    from visage.infra.ray_session import start_ray
    from visage.infra.remote_store import is_address
    from visage.registry.models import Registry
    from visage.training.resources import this_machine

    access = serving.access
    if access.required:
        access = access.model_copy(update={"keys": access.keys and access.keys.resolve()})
        Keys(access.keys)
    registry = Registry(serving.tracking_uri)
    registry.find(serving.model)
    # Replicas may work in another folder than this process.
    there: dict[str, Any] = {"tracking_uri": registry.uri, "model": _absolute(serving.model), "access": access}
    there["transfer"] = serving.transfer and _absolute(serving.transfer)
    if (batches := serving.batches) and not is_address(batches.dir):
        there["batches"] = batches.model_copy(update={"dir": str(Path(batches.dir).resolve())})
    if challenger := serving.challenger:
        there["challenger"] = challenger.model_copy(update={"model": _absolute(challenger.model)})
    serving = serving.model_copy(update=there)
    url = address(serving)
    rolls = is_served(url)
    if not rolls:
        require_free(serving.host, serving.port, "--set port")
    if block:
        print(f"{serving.model}: Ray and the first replica start; then {url} answers.", flush=True)
    settings = environment(serving)
    os.environ.update(settings)  # before Ray Serve is imported, which reads them once

    import ray

    if not ray.is_initialized() and not os.environ.get("RAY_ADDRESS"):
        _require_resources(serving, this_machine()[0])
    _started["ray"] = start_ray() or _started.get("ray", False)
    try:
        _require_resources(serving, ray.cluster_resources())
        _run(serving, settings)
    except ray.exceptions.RayError as error:
        if not rolls:
            stop()
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"Ray Serve could not start ({reason}); read the logs in /tmp/ray/session_latest.") from None
    except BaseException:
        if not rolls:
            stop()
        raise
    if block:
        print(
            f"{serving.model} answers at {url}, which is a page; {url}/docs is for programs. Ctrl-C stops it.",
            flush=True,
        )
        _wait_for_signal()
        stop()
    return url


def _absolute(model: str) -> str:
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def stop() -> None:
    """Stop what `serve` started: the endpoint, and Ray if it was started for it."""
    import ray
    from ray import serve as ray_serve

    if ray.is_initialized():
        ray_serve.shutdown()
        if _started.pop("ray", False):
            ray.shutdown()


def _run(serving: Serving, settings: dict[str, str]) -> None:
    from ray import serve as ray_serve

    longest = serving.limits.upload_seconds + serving.limits.seconds + 10
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ray_serve.start(
        http_options={
            "host": serving.host,
            "port": serving.port,
            # The routes have their own limits and HAProxy one for what hangs below. One of Serve's costs two tasks a
            # request, so it is there only without HAProxy.
            "request_timeout_s": None if "RAY_SERVE_ENABLE_HA_PROXY" in settings else longest,
        },
        # Serve's processes take these over from the controller, also on a Ray that was started without them.
        controller_options={"runtime_env": {"env_vars": settings}},
        logging_config=LOGGING,
    )
    ray_serve.run(build(serving), name=NAME, route_prefix="/")
    wait_for_answers(f"{address(serving)}/healthz")


def _require_resources(serving: Serving, resources: dict[str, float]) -> None:
    """Ray waits for ever for what a machine does not have; say so instead."""
    replicas = serving.replicas
    for key, name, each in (("num_cpus", "CPU", replicas.num_cpus), ("num_gpus", "GPU", replicas.num_gpus)):
        there, at_once = resources.get(name, 0), max(1, replicas.min)
        further = getattr(serving.batches, key, 0)
        if at_once * each + further > there:
            beside = f" and {further:g} of batches.{key}" if further else ""
            raise UserError(
                f"replicas.{key} = {each:g}: there are {there:g} {name}s here for the {at_once} of replicas.min{beside}"
                "; lower one of them or add a machine."
            )


def _wait_for_signal() -> None:
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    while not ended.wait(1):
        pass
