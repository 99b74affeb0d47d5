import json
import socket
import urllib.request

import pytest

from visage.errors import UserError
from visage.registry.tracking import Tracking
from visage.registry.ui import pages


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_pages_show_the_store_and_end_with_the_block(empty_store: str):
    Tracking(empty_store, "visage").start_run("one")
    port = free_port()
    with pages(empty_store, port) as (url, process):
        assert b"MLflow" in urllib.request.urlopen(url, timeout=30).read()
        query = f"{url}/api/2.0/mlflow/experiments/get-by-name?experiment_name=visage"
        assert json.load(urllib.request.urlopen(query, timeout=30))["experiment"]["name"] == "visage"
    assert process.poll() is not None
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_port_in_use(store: str):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port}: is in use"), pages(store, port):
            pass


def test_a_server_has_pages_of_its_own():
    with pytest.raises(UserError, match="open that address"), pages("http://mlflow.example:5000", 5000):
        pass
