"""What the client makes of an address that is no endpoint; its talk with a real one is in tests/serve_app."""

import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from visage.client import Client, ClientError

ROOT = Path(__file__).parents[1]


class Foreign(BaseHTTPRequestHandler):
    """Another program's server: it answers everything, with JSON or a page."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'["hello"]' if "model" in self.path else b"<p>hello</p>")

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Foreign) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_another_program_s_answer_is_one_sentence(foreign: str) -> None:
    with Client(foreign) as client:
        with pytest.raises(ClientError, match="not as Visage's endpoint does"):
            client.expressions(b"picture", ["happy"])
        with pytest.raises(ClientError, match="not as Visage's endpoint does"):
            client.model()


@pytest.mark.slow
def test_it_installs_alone(tmp_path: Path) -> None:
    """The package of `client/` is whole, and small: of what Visage needs it imports nothing heavy."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT / "client")], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as content:
        content.extractall(tmp_path / "site")
    asked = "from visage.client import Client; Client('http://127.0.0.1:9')"
    shown = "import sys, visage; print(visage.__file__, *sorted(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {asked}; {shown}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    place, *modules = done.stdout.split()
    assert place == str(tmp_path / "site" / "visage" / "__init__.py")
    assert not {"torch", "ray", "mlflow", "optuna", "numpy", "fastapi"} & set(modules)
