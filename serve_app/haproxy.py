"""Starts HAProxy for Ray Serve with rules that Serve's own configuration lacks.

Serve writes HAProxy's configuration anew at each change of replicas, and starts this in HAProxy's place
(RAY_SERVE_HAPROXY_BINARY_PATH; see `serve_app.ingress`). It needs nothing but the standard library, adds the rules to
the file and becomes HAProxy.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

HEADERS_SECONDS = 10
# Headers by which a caller could steer Serve itself. Bytes that are no UTF-8 in them would be faults of the server.
STEERING = (
    "x-request-timeout-seconds",
    "x-request-disconnect-disabled",
    "x-session-id",
    "x_session_id",
    "serve_multiplexed_model_id",
    "serve-multiplexed-model-id",
)
# What HAProxy answers by itself, in the endpoint's own words. 502 is a replica that went away with a request too large
# to be asked again elsewhere: the caller can.
FAULTS = {
    400: (400, "Bad Request", "This is no HTTP request that can be read."),
    408: (408, "Request Timeout", "The request did not arrive in time; send it faster."),
    502: (503, "Service Unavailable", "The replica that had the request is gone; ask again."),
    503: (503, "Service Unavailable", "No replica can be reached; try again in a moment."),
    504: (504, "Gateway Timeout", "There was no answer in time; try again when there is less load."),
}
PROBLEM = "application/problem+json"
BUSY = ("Too Many Requests", "More requests are waiting than can be taken on; ask again in a moment.")
NO_REPLICA = "No replica answers yet; try again in a moment."


def problem(status: int, title: str, detail: str) -> str:
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail})


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')


def fault_file(status: int, title: str, detail: str) -> str:
    """A whole HTTP answer."""
    body = problem(status, title, detail)
    lines = [
        f"HTTP/1.1 {status} {title}",
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
    """
    replicas = re.findall(r"^ *server (SERVE_REPLICA_\S+) ", text, re.MULTILINE)
    (backend,) = re.findall(r"^backend (http-\S+)", text, re.MULTILINE) or ["none"]
    awake = [f"acl awake srv_is_up({backend}/{name})" for name in replicas] or ["acl awake always_false"]
    status, kind, body = 503, PROBLEM, problem(503, "Service Unavailable", NO_REPLICA)
    if sleeps:
        status, kind, body = 200, "application/json", json.dumps({"status": "asleep"})
    looked = f'status {status} content-type {kind} string "{_quoted(body)}"'
    busy = f'status 429 content-type {PROBLEM} hdr Retry-After 1 string "{_quoted(problem(429, *BUSY))}"'
    rules = [
        *awake,
        f"http-request return {looked} if {{ path /healthz }} !awake",
        *(f"http-request del-header {name}" for name in STEERING),
        "http-request del-header x-request-id unless { req.hdr(x-request-id) -m reg ^[A-Za-z0-9._-]{1,100}$ }",
        # The routes have their own limits of time; watching for callers who leave costs Serve two tasks a request.
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
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["errorfile"] or words[:2] in (["timeout", "client"], ["timeout", "http-request"]):
            continue
        if words[:1] == ["bind"] and len(words) == 2 and words[1].startswith((":", "*:")):
            line = f"    bind 127.0.0.1:{words[1].rpartition(':')[2]}"
        lines.append(line)
        if words == ["mode", "http"] and "defaults" in lines[-2:-1]:
            lines += [f"    {each}" for each in defaults]
        elif words[:1] == ["bind"] and lines[-2:-1] == ["frontend http_frontend"]:
            lines += [f"    {each}" for each in rules]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """arguments: HAProxy's path, whether replicas may sleep (0 or 1), upload_seconds, and what Serve gives HAProxy."""
    binary, sleeps, upload_seconds, *given = arguments
    if "-f" in given:
        path = Path(given[given.index("-f") + 1])
        for status, fault in FAULTS.items():
            (path.parent / f"{status}.http").write_text(fault_file(*fault))
        folder, seconds = str(path.parent), float(upload_seconds)
        path.write_text(amended(path.read_text(), folder, sleeps=sleeps == "1", upload_seconds=seconds))
    os.execv(binary, [binary, *given])


if __name__ == "__main__":
    main(sys.argv[1:])
