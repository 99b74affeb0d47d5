"""What the client makes of an address that is no endpoint; its talk with a real one is in tests/serve_app."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from visage.client import Client, ClientError


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
