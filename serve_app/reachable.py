"""Whether the endpoint can be reached, and where."""

import os
import time

from serve_app.haproxy import NO_REPLICA
from visage.config import Serving
from visage.errors import UserError

ANSWERS_SECONDS = 60


def address(serving: Serving) -> str:
    """Where this machine reaches the endpoint."""
    host = "127.0.0.1" if serving.host == "0.0.0.0" else serving.host
    return f"http://{host}:{serving.port}"


def is_served(url: str) -> bool:
    """Whether the Ray of this process, or that of RAY_ADDRESS, serves at this address already."""
    import ray

    from visage.infra.ray_session import start_ray

    if not ray.is_initialized():
        if not os.environ.get("RAY_ADDRESS"):
            return False
        start_ray()
    # Not by Ray Serve, which must not be imported before its settings are there.
    actors = ray.util.list_named_actors(all_namespaces=True)
    return any(actor["namespace"] == "serve" for actor in actors) and _answers(f"{url}/healthz")


def wait_for_answers(url: str) -> None:
    """Wait until the ingress hands requests to a replica, whether that has a model or not."""
    deadline = time.monotonic() + ANSWERS_SECONDS
    while time.monotonic() < deadline:
        if _answers(url):
            return
        time.sleep(0.1)
    raise UserError(f"{url}: does not answer after {ANSWERS_SECONDS} s; read Ray's logs, or set ingress to python.")


def _answers(url: str) -> bool:
    import httpx

    try:
        answer = httpx.get(url, timeout=2)
    except httpx.HTTPError:
        return False
    return answer.headers.get("content-type", "").startswith("application/") and NO_REPLICA not in answer.text
