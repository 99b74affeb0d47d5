"""Other servers of the same model: started, asked and stopped."""

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx

from benchmarks.served import sample_faces

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = ("fastapi", "litserve", "bentoml")
BENTOML = "bentoml==1.4.40"
READY_SECONDS = 180


def make_bentoml(folder: Path) -> None:
    """An environment with BentoML's own requirements, that finds all else in the one that runs this script."""
    if (folder / "bin" / "bentoml").exists():
        return
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", BENTOML], check=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "visage.pth").write_text("\n".join(ours) + "\n")


def command(name: str, port: int, bentoml: Path) -> list[str]:
    python = [sys.executable]
    if name == "fastapi":
        return [*python, "-m", "uvicorn", "--app-dir", str(HERE), "fastapi_app:app", "--workers", "2",
                "--port", str(port), "--log-level", "warning"]  # fmt: skip
    if name == "litserve":
        return [*python, str(HERE / "litserve_app.py"), str(port)]
    return [str(bentoml / "bin" / "bentoml"), "serve", f"{HERE / 'bentoml_app.py'}:Faces", "--port", str(port),
            "--host", "127.0.0.1"]  # fmt: skip


@contextmanager
def running(name: str, model: Path, bentoml: Path) -> Iterator[tuple[str, int]]:
    """A peer with this bundle; yields the address to ask at, once it has answered, and its process."""
    from serve_app.ingress import free_ports

    (port,) = free_ports(1)
    paths = [str(ROOT / "platform"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    settings = {"BUNDLE": str(model), "PYTHONPATH": ":".join(paths), "BENTOML_DO_NOT_TRACK": "True"}
    server = subprocess.Popen(
        command(name, port, bentoml), env=os.environ | settings, stdout=sys.stderr, start_new_session=True
    )
    url = f"http://127.0.0.1:{port}/edit"
    try:
        deadline = time.monotonic() + READY_SECONDS
        files = {"image": ("face.png", sample_faces(1)[0], "image/png"), "expression": (None, "happy")}
        while True:
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name}: did not start")
            try:
                answer = httpx.post(url, files=files, timeout=30)
                if answer.status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        yield url, server.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, 15)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, 9)
            server.wait()


def asked(url: str, server: int, clients: int, seconds: float, accept: str = "image/png") -> dict[str, Any]:
    """What `benchmarks/load.py` says of an address and the process behind it."""
    arguments = [url, "--server", str(server), "--clients", str(clients), "--seconds", str(seconds), "--accept", accept]
    done = subprocess.run(
        [sys.executable, str(HERE.parent / "load.py"), *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def versions(names: Iterable[str], bentoml: Path) -> dict[str, str]:
    found = {}
    if "litserve" in names:
        found["litserve"] = version("litserve")
    if "bentoml" in names:
        script = "import importlib.metadata as m; print(m.version('bentoml'))"
        found["bentoml"] = subprocess.check_output([bentoml / "bin" / "python", "-c", script], text=True).strip()
    return found
