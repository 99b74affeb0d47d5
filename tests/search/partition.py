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
from tests.search.fakes import GOAL, experiment, trials
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


class Steps:
    """What the trials did, in a file: a line for each step of a trial, with the address of its node."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "steps"
        self.file.touch()

    def note(self, trial: int, images: int) -> None:
        with self.file.open("a") as file:
            file.write(f"{trial} {images} {ray.util.get_node_ip_address()}\n")

    def done(self) -> list[tuple[str, str]]:
        """The trial and the node of each step."""
        lines = [line.split() for line in self.file.read_text().splitlines()]
        return [(trial, node) for trial, _, node in lines]


class Node:
    """A node with a network of its own. plug joins it to the switch; pull parts it, and neither end is told."""

    def __init__(self, parts: ExitStack, folder: Path, number: int, gcs: int) -> None:
        """parts: ends what this starts. gcs: the port of the head that it joins."""
        self.parts, self.folder, self.gcs = parts, folder, gcs
        self.port, self.address, self.starts = f"port{number}", NODES[number], 0
        self.inside = self._network()
        self.plug()
        self.start()

    def _network(self) -> list[str]:
        """A network with a cable to the switch, which is not plugged in yet; what a command in it begins with."""
        holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.parts.callback(holder.kill)
        here = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != here)
        ip("link", "add", self.port, "type", "veth", "peer", "name", "eth", "netns", holder.pid)
        ip("link", "set", self.port, "up")
        inside = ["nsenter", "--target", str(holder.pid), "--net"]
        for words in ("link set lo up", f"addr add {self.address}/24 dev eth", "link set eth up"):
            subprocess.run([*inside, "ip", *words.split()], check=True)
        return inside

    def plug(self) -> None:
        ip("link", "set", self.port, "master", "switch")

    def pull(self) -> None:
        ip("link", "set", self.port, "nomaster")

    def start(self) -> None:
        """Start a raylet and wait until it has joined."""
        self.starts, before = self.starts + 1, living()
        command = [*self.inside, *START, 1, "--address", f"{HEAD}:{self.gcs}", "--node-ip-address", self.address]
        log = f"{self.port}-{self.starts}"
        self.raylet = self.parts.enter_context(Server(self.folder, log, command, lambda: living() > before, TOKEN))


Mode = Callable[[Node, Path, Steps], None]
"""Parts the node, which is in the middle of a trial; given the study's folder and what its trials did."""


def parted(seconds: float) -> Mode:
    """For so long."""

    def part(node: Node, folder: Path, steps: Steps) -> None:
        node.pull()
        time.sleep(seconds)
        node.plug()

    return part


def lost(node: Node, folder: Path, steps: Steps) -> None:
    """Until Ray takes the node for dead and its trial goes on elsewhere; then the others wait until it is back."""
    [cut] = {trial for trial, at in steps.done() if at == node.address}
    node.pull()
    until(lambda: living() == len(NODES))  # the head and the other one
    until(lambda: any(trial == cut and at != node.address for trial, at in steps.done()))
    (folder / "moved").touch()
    assert node.raylet.process.poll() is None  # it hears of nothing
    node.plug()
    until(lambda: node.raylet.process.poll() is not None)
    assert living() == len(NODES)
    node.start()  # as KubeRay's next pod


MODES = {"shortly": parted(10), "longer": parted(40), "lost": lost}


def switched() -> None:
    """The head's network: itself and a switch at which it has its address."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "switch", "type", "bridge")
    ip("addr", "add", f"{HEAD}/24", "dev", "switch")
    ip("link", "set", "switch", "up")


def head(parts: ExitStack, folder: Path) -> int:
    """Start a head without CPUs and join it; returned is its port for the nodes."""
    gcs, dashboard = free_ports(2)
    # Short, as a socket's path may have a hundred letters.
    session = parts.enter_context(tempfile.TemporaryDirectory(prefix="visage-ray-", ignore_cleanup_errors=True))
    place = ("--node-ip-address", HEAD, "--port", gcs, "--dashboard-port", dashboard, "--temp-dir", session)
    parts.enter_context(Server(folder, "head", [*START, 0, "--head", *place], lambda: listens(dashboard), TOKEN))
    parts.callback(ray.shutdown)
    ray.init(address=f"{HEAD}:{gcs}", log_to_driver=False)
    return gcs


def main(folder: Path, mode: Mode) -> None:
    """Run the study, and part the first node when it has done three steps. Leaves in the folder: `steps`, `healed` when
    the node is back or the parting failed, and `living`, how many nodes Ray has at the end."""
    steps = Steps(folder)

    def behaviour(number: int, values: dict[str, float], images: int) -> float:
        steps.note(number, images)
        time.sleep(1)
        while (folder / "moved").exists() and not (folder / "healed").exists():
            time.sleep(0.2)
        return images / GOAL

    def part(node: Node) -> None:
        try:
            until(lambda: [at for _, at in steps.done()].count(node.address) >= 3)
            mode(node, folder, steps)
        finally:
            (folder / "healed").touch()

    switched()
    with ExitStack() as parts:
        gcs = head(parts, folder)
        nodes = [Node(parts, folder, number, gcs) for number in range(len(NODES))]
        parting = parts.enter_context(ThreadPoolExecutor(1)).submit(part, nodes[0])
        tune(experiment(folder, f"sqlite:///{folder}/mlflow.db", trials=TRIALS), trials=trials(behaviour))
        parting.result()
        (folder / "living").write_text(f"{living()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), MODES[sys.argv[2]])
