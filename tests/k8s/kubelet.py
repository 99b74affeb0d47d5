"""Runs pods as containers of podman, as a kubelet does: environment, locks, limits, volumes, probes, hooks, names.

Each pod has a network of its own at a switch, which is in a network namespace of its own too: nothing of it is seen in
the machine's network, and no table of its firewall is asked. Services are names of a small DNS there.
"""

import asyncio
import ctypes
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from k8s.image import limits, podman
from tests.k8s.kuberay_pods import DOMAIN, Pod, octets, whole

NEWNET = 0x40000000
NET = "10.99.7"
Documents = list[dict[str, Any]]
T = TypeVar("T")


class Ended(AssertionError):
    """A pod's container ended before it was ready."""


def call(*words: object, check: bool = True, seconds: float = 300) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds)
    assert not check or not done.returncode, f"{words}: {done.stdout}{done.stderr}"
    return done


def until(seen: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"{what}: was not seen in {seconds} s"
        time.sleep(0.5)


@dataclass(frozen=True)
class Image:
    """What runs in the place of an image. begin: in that of its own beginning, where a manifest names no command."""

    name: str
    flags: tuple[str, ...] = ()
    begin: tuple[str, ...] = ()


class Machine:
    """A node of a cluster. images: what runs in the place of each image, by its name without registry and tag."""

    def __init__(self, folder: Path, documents: Documents, images: dict[str, Image]) -> None:
        self.folder, self.images, self.tool = folder, images, podman()
        self.name = f"visage-{os.getpid()}"
        self.maps = {each["metadata"]["name"]: each["data"] for each in documents if each["kind"] == "ConfigMap"}
        self.secrets: dict[str, dict[str, str]] = {}
        self.pods: dict[str, Running] = {}
        self.log: list[str] = []
        self.addresses: dict[str, str] = {}
        self.names: dict[str, str] = {}  # of services: where they lead
        self.roads: dict[int, tuple[str, int]] = {}
        self.resolver = folder / "resolv.conf"
        self.resolver.write_text(f"nameserver {NET}.1\nsearch {DOMAIN} svc.cluster.local\noptions ndots:5\n")
        self.hosts = folder / "hosts"
        self.hosts.write_text("127.0.0.1 localhost\n")
        call("ip", "netns", "add", self.name)
        for words in ("link set lo up", "link add switch type bridge", f"addr add {NET}.1/24 dev switch",
                      "link set switch up"):  # fmt: skip
            call("ip", "-n", self.name, *words.split())
        self.inside = ThreadPoolExecutor(64, initializer=self._enter)
        threading.Thread(target=self._answer_names, daemon=True).start()

    def _enter(self) -> None:
        """This thread, and all that it starts, is in the switch's network from now on."""
        with open(f"/run/netns/{self.name}") as space:
            assert ctypes.CDLL(None).setns(space.fileno(), NEWNET) == 0

    def _answer_names(self) -> None:
        """A DNS of the services: their addresses of version 4, and that all else is unknown."""
        self._enter()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.bind((f"{NET}.1", 53))
            while True:
                query, who = asked.recvfrom(1500)
                labels, at = [], 12
                while size := query[at]:
                    labels.append(query[at + 1 : at + 1 + size].decode().lower())
                    at += 1 + size
                address = self.names.get(".".join(labels))
                [kind] = struct.unpack("!H", query[at + 1 : at + 3])
                given = kind == 1 and address is not None
                head = struct.pack("!5H", 0x8180 | (0 if address else 3), 1, given, 0, 0)
                answer = query[:2] + head + query[12 : at + 5]
                if given:
                    answer += struct.pack("!3HLH", 0xC00C, 1, 1, 5, 4) + socket.inet_aton(str(address))
                asked.sendto(answer, who)

    def here(self, do: Callable[..., T], *arguments: Any, **words: Any) -> T:
        """What it gives, done in the network of the pods, as `kubectl port-forward` lets one."""
        return self.inside.submit(do, *arguments, **words).result()

    def forward(self, port: int, pod: "Running", to: int) -> None:
        """As `kubectl port-forward` to a pod: 127.0.0.1:port of the pods' network leads there from now on."""
        before, self.roads[port] = port in self.roads, (pod.address, to)
        if before:
            return

        async def passed(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while some := await source.read(2**16):
                    sink.write(some)
                    await sink.drain()
            sink.close()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                there, sink = await asyncio.open_connection(*self.roads[port])
            except OSError:
                writer.close()
                return
            await asyncio.gather(passed(reader, sink), passed(there, writer))

        async def serve() -> None:
            await (await asyncio.start_server(accepted, "127.0.0.1", port)).serve_forever()

        threading.Thread(target=lambda: (self._enter(), asyncio.run(serve())), daemon=True).start()

    def start(self, pod: Pod, service: str | None = None) -> "Running":
        """A pod, when its containers run. service: a name that leads to it from now on."""
        made = self.pods[pod["name"]] = Running(self, pod)
        if service:
            self.names[service] = made.address
        made.run()
        return made

    def close(self) -> None:
        for pod in list(self.pods.values()):
            pod.remove()
        self.inside.shutdown()
        for space in (self.name, *(f"{self.name}-{at.rpartition('.')[2]}" for at in self.addresses.values())):
            call("ip", "netns", "del", space, check=False)


class Running:
    """A pod. Its logs and volumes are in the machine's folder; what it claimed outlives it there."""

    def __init__(self, machine: Machine, pod: Pod) -> None:
        self.machine, self.pod, self.name, self.spec = machine, pod, pod["name"], pod["spec"]
        self.container: dict[str, Any] = self.spec["containers"][0]
        self.id = f"{machine.name}-{self.name}"
        number = len(machine.addresses) + 2
        again = self.name in machine.addresses  # its name and its address are those of a service
        self.address = machine.addresses.setdefault(self.name, f"{NET}.{number}")
        self.began, self.ready_after, self.peak = time.monotonic(), 0.0, 0
        self.ended = threading.Event()
        self.group: Path | None = None
        self.space = f"{machine.name}-{self.address.rpartition('.')[2]}"
        if again:
            return
        port = f"port{number}"
        call("ip", "netns", "add", self.space)
        call("ip", "-n", machine.name, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        call("ip", "-n", machine.name, "link", "set", port, "master", "switch", "up")
        for words in ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up",
                      f"route add default via {NET}.1"):  # fmt: skip
            call("ip", "-n", self.space, *words.split())

    def run(self) -> None:
        for first in self.spec.get("initContainers", ()):
            self._run(first, f"{self.id}-{first['name']}", "--rm")
        self._run(self.container, self.id, "--detach")
        threading.Thread(target=self._watch, daemon=True).start()

    def _run(self, spec: dict[str, Any], name: str, how: str) -> None:
        image = self.machine.images[spec["image"].rpartition("/")[2].partition(":")[0]]
        environment = self._environment(spec)
        command = [*spec.get("command", image.begin), *spec.get("args", ())]
        for key, value in environment.items():
            command = [word.replace(f"$({key})", value) for word in command]
        context = self.spec["securityContext"] | spec["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        memory = octets(spec["resources"]["limits"]["memory"])
        cpus = spec["resources"]["requests"]["cpu"]
        shares = int(cpus[:-1]) if cpus.endswith("m") else 1000 * int(cpus)
        flags = [
            how, f"--name={name}", f"--hostname={self.name[:63]}", f"--network=ns:/run/netns/{self.space}", *limits(),
            "--no-hosts", f"--volume={self.machine.hosts}:/etc/hosts:ro",
            f"--volume={self.machine.resolver}:/etc/resolv.conf:ro",
            f"--user={context['runAsUser']}:{context['runAsGroup']}", "--read-only", "--read-only-tmpfs=false",
            "--cap-drop=all", "--security-opt=no-new-privileges",
            f"--memory={memory}", f"--memory-swap={memory}", f"--cpu-shares={shares * 1024 // 1000}",
            *([f"--group-add={context['fsGroup']}"] if "fsGroup" in context else []),
            *(f"--env={key}={value}" for key, value in environment.items()),
            *(self._mount(mount) for mount in spec.get("volumeMounts", ())),
            *image.flags, "--entrypoint=", image.name, *command,
        ]  # fmt: skip
        done = call(*self.machine.tool, "run", *flags, check=how != "--rm", seconds=600)
        assert not done.returncode, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    def _environment(self, spec: dict[str, Any]) -> dict[str, str]:
        found: dict[str, str] = {}
        for source in spec.get("envFrom", ()):
            found |= self.machine.maps[source["configMapRef"]["name"]]
        for each in spec.get("env", ()):
            found[each["name"]] = each["value"] if "value" in each else self._looked_up(each["valueFrom"], spec)
        return found

    def _looked_up(self, source: dict[str, Any], spec: dict[str, Any]) -> str:
        [(kind, of)] = source.items()
        if kind == "secretKeyRef":
            return self.machine.secrets[of["name"]][of["key"]]
        if kind == "resourceFieldRef":
            assert of["resource"] == "requests.cpu"
            return str(whole(spec["resources"]["requests"]["cpu"]))
        label = re.fullmatch(r"metadata\.labels\['(.+)'\]", of["fieldPath"])
        return str(self.pod["labels"][label[1]]) if label else self.name

    def _mount(self, mount: dict[str, Any]) -> str:
        """A volume by its kind. As a kubelet and most drivers do, the group of the pod's fsGroup may write to it."""
        group = self.spec["securityContext"].get("fsGroup", self.spec["securityContext"]["runAsGroup"])
        claims = {each["metadata"]["name"]: each for each in self.pod.get("claims", ())}
        volumes = {each["name"]: each for each in self.spec.get("volumes", ())}
        name, at = mount["name"], mount["mountPath"]
        volume = volumes.get(name, {})
        if volume.get("emptyDir", {}).get("medium") == "Memory":
            size = octets(volume["emptyDir"]["sizeLimit"])
            return f"--mount=type=tmpfs,destination={at},tmpfs-size={size},tmpfs-mode=1777"
        if "persistentVolumeClaim" in volume or name in claims:
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", f"{name}-{self.name}")
            place = self.machine.folder / "volumes" / claim
        else:
            place = self.machine.folder / "pods" / self.name / name
        place.mkdir(parents=True, exist_ok=True)
        files, mode = {}, 0o2775
        if "secret" in volume:
            known, mode = self.machine.secrets[volume["secret"]["secretName"]], 0o2755
            files = {item["path"]: known[item["key"]] for item in volume["secret"]["items"]}
        elif "configMap" in volume:
            files, mode = self.machine.maps[volume["configMap"]["name"]], 0o2755
        elif "emptyDir" in volume:
            mode = 0o2777
        for path, text in files.items():
            (place / path).write_text(text)
            (place / path).chmod(0o440)
            shutil.chown(place / path, 0, group)
        shutil.chown(place, 0, group)
        place.chmod(mode)
        return f"--volume={place}:{at}{':ro' if mount.get('readOnly') else ''}"

    def probe(self, kind: str) -> bool:
        """Whether the probe of this kind succeeds; true where the manifest has none."""
        probe = self.container.get(f"{kind}Probe")
        if not probe:
            return True
        if "exec" in probe:
            return not self.exec(*probe["exec"]["command"], check=False).returncode
        ports = {each["name"]: each["containerPort"] for each in self.container["ports"]}
        asked = probe.get("httpGet") or probe["tcpSocket"]
        port = ports.get(asked["port"], asked["port"])
        headers = {each["name"]: each["value"] for each in asked.get("httpHeaders", ())}
        try:
            if "tcpSocket" in probe:
                self.machine.here(socket.create_connection, (self.address, port), 5).close()
                return True
            url = f"http://{self.address}:{port}{asked['path']}"
            return bool(self.machine.here(httpx.get, url, headers=headers, timeout=5).is_success)
        except (httpx.HTTPError, OSError):
            return False

    def ready(self, seconds: float = 600) -> "Running":
        """When its probes say that it is ready. Raises Ended for a container that is not started again."""

        def is_ready() -> bool:
            if not self.runs():
                raise Ended(f"{self.name}: ended: {self.logs()[-3000:]}")
            return self.probe("startup") and self.probe("readiness")

        until(is_ready, seconds, f"{self.name} ready")
        self.ready_after = time.monotonic() - self.began
        return self

    def exec(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return call(*self.machine.tool, "exec", self.id, *command, check=check)

    def runs(self) -> bool:
        found = call(*self.machine.tool, "inspect", "--format={{.State.Running}}", self.id, check=False)
        return found.stdout.strip() == "true"

    def logs(self) -> str:
        done = call(*self.machine.tool, "logs", self.id, check=False)
        return done.stdout + done.stderr

    @property
    def limit(self) -> int:
        return octets(self.container["resources"]["limits"]["memory"])

    def _group(self) -> Path:
        """The control group of its container's memory, of version 1 or 2."""
        pid = call(*self.machine.tool, "inspect", "--format={{.State.Pid}}", self.id).stdout.strip()
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        groups = {kinds: path for _, kinds, path in (line.split(":", 2) for line in lines)}
        kind = "memory" if "memory" in groups else ""
        return Path(f"/sys/fs/cgroup/{kind}{groups[kind]}")

    def memory(self) -> int:
        """Its working set, as a kubelet reckons it: what is used, less the files that nobody looked at lately."""
        if not self.group:
            self.group = self._group()
        old = (self.group / "memory.usage_in_bytes").exists()
        used = int((self.group / ("memory.usage_in_bytes" if old else "memory.current")).read_text())
        stat = dict(line.split() for line in (self.group / "memory.stat").read_text().splitlines())
        return used - int(stat["total_inactive_file" if old else "inactive_file"])

    def _watch(self) -> None:
        """The largest working set, seen every second."""
        while not self.ended.wait(1):
            try:
                self.peak = max(self.peak, self.memory())
            except (OSError, AssertionError, KeyError):
                return

    def kill(self, by: str = "KILL") -> None:
        call(*self.machine.tool, "kill", f"--signal={by}", self.id, check=False)

    def delete(self) -> None:
        """As by `kubectl delete pod`: its hook, then SIGTERM, then SIGKILL when the grace is over."""
        grace, began = self.spec.get("terminationGracePeriodSeconds", 30), time.monotonic()
        time.sleep(self.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0))
        left = max(2, grace - (time.monotonic() - began))
        call(*self.machine.tool, "stop", f"--time={left:.0f}", self.id, check=False, seconds=grace + 60)
        self.remove()

    def remove(self) -> None:
        self.ended.set()
        kept = self.machine.folder / "logs"
        kept.mkdir(exist_ok=True)
        number = len(list(kept.glob(f"{self.name}*")))
        (kept / f"{self.name}.{number}.log").write_text(self.logs())
        firsts = [f"{self.id}-{first['name']}" for first in self.spec.get("initContainers", ())]
        call(*self.machine.tool, "rm", "--force", "--ignore", "--time=0", self.id, *firsts, check=False)
        self.machine.pods.pop(self.name, None)
