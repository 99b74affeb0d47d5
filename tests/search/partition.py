"""A study on two nodes, each with a network of its own at a switch; one of them is unplugged, and plugged in again.

`python -m tests.search.partition FOLDER MODE` does it, in a network namespace of its own (`unshare --net`), where the
switch and the head are: nothing of it is seen in the machine's network, and all of it goes with its processes.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import ray

from k8s.servers import Server, listens
from serve_app.ingress import free_ports
from tests.search.fakes import experiment, trials
from visage.search.tune import tune

HEAD, NODES, TRIALS = "10.99.0.1", ("10.99.0.2", "10.99.0.3"), 12
START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus")
TOKEN = {name: os.environ.get(name, "") for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}  # that of the tests


def ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True)


def until(seen: Callable[[], bool], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "was not seen in time"
        time.sleep(0.1)


def living() -> int:
    return sum(node["Alive"] for node in ray.nodes())


class Node:
    """A node with a network of its own. plug joins it to the switch; pull parts it, and neither end is told."""

    def __init__(self, parts: ExitStack, folder: Path, number: int, gcs: int) -> None:
        self.parts, self.folder, self.gcs = parts, folder, gcs
        self.port, self.address, self.starts = f"port{number}", NODES[number], 0
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        parts.callback(holder.kill)
        here = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != here)
        self.inside = ["nsenter", "--target", str(holder.pid), "--net"]
        ip("link", "add", self.port, "type", "veth", "peer", "name", "eth", "netns", holder.pid)
        own = ("link set lo up", f"addr add {self.address}/24 dev eth", "link set eth up")
        for words in own:
            subprocess.run([*self.inside, "ip", *words.split()], check=True)
        ip("link", "set", self.port, "up")
        self.plug()
        self.start()

    def plug(self) -> None:
        ip("link", "set", self.port, "master", "switch")

    def pull(self) -> None:
        ip("link", "set", self.port, "nomaster")

    def start(self) -> None:
        """A raylet, when it has joined."""
        self.starts, before = self.starts + 1, living()
        place = ("--address", f"{HEAD}:{self.gcs}", "--node-ip-address", self.address)
        command = [*self.inside, *START, 1, *place]
        log = f"{self.port}-{self.starts}"
        self.raylet = self.parts.enter_context(Server(self.folder, log, command, lambda: living() > before, TOKEN))


def parted(seconds: float) -> Callable[[Node, Path], None]:
    """For so long."""

    def part(node: Node, folder: Path) -> None:
        node.pull()
        time.sleep(seconds)
        node.plug()

    return part


def lost(node: Node, folder: Path) -> None:
    """Until Ray takes the node for dead and its trial goes on elsewhere; then the others wait until it is back."""
    steps = folder / "steps"
    [cut] = {line.split()[0] for line in steps.read_text().splitlines() if node.address in line}
    node.pull()
    until(lambda: living() == len(NODES))
    until(lambda: any(line.startswith(f"{cut} ") and node.address not in line
                      for line in steps.read_text().splitlines()))  # fmt: skip
    (folder / "moved").touch()
    assert node.raylet.process.poll() is None  # it hears of nothing
    node.plug()
    until(lambda: node.raylet.process.poll() is not None)
    assert living() == len(NODES)
    node.start()  # as KubeRay's next pod


MODES = {"shortly": parted(10), "longer": parted(40), "lost": lost}


def main(folder: Path, mode: Callable[[Node, Path], None]) -> None:
    steps = folder / "steps"
    steps.touch()
    ip("link", "set", "lo", "up")
    ip("link", "add", "switch", "type", "bridge")
    ip("addr", "add", f"{HEAD}/24", "dev", "switch")
    ip("link", "set", "switch", "up")

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        with steps.open("a") as file:
            file.write(f"{number} {images} {ray.util.get_node_ip_address()}\n")
        time.sleep(1)
        while (folder / "moved").exists() and not (folder / "healed").exists():
            time.sleep(0.2)
        return images / 900

    def change() -> None:
        try:
            until(lambda: steps.read_text().count(nodes[0].address) >= 3)
            mode(nodes[0], folder)
        finally:
            (folder / "healed").touch()

    gcs, dashboard = free_ports(2)
    with ExitStack() as parts:
        # Short, as a socket's path may have a hundred letters.
        session = parts.enter_context(tempfile.TemporaryDirectory(prefix="visage-ray-", ignore_cleanup_errors=True))
        place = ("--node-ip-address", HEAD, "--port", gcs, "--dashboard-port", dashboard, "--temp-dir", session)
        parts.enter_context(Server(folder, "head", [*START, 0, "--head", *place], lambda: listens(dashboard), TOKEN))
        parts.callback(ray.shutdown)
        ray.init(address=f"{HEAD}:{gcs}", log_to_driver=False)
        nodes = [Node(parts, folder, number, gcs) for number in range(len(NODES))]
        changing = parts.enter_context(ThreadPoolExecutor(1)).submit(change)
        tune(experiment(folder, f"sqlite:///{folder}/mlflow.db", trials=TRIALS), trials=trials(behaviour))
        changing.result()
        (folder / "living").write_text(f"{living()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), MODES[sys.argv[2]])
