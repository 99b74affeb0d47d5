"""One machine: what is installed, what it has, what it reaches. Runs on each node, and imports nothing of Ray's."""

import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread

import httpx

from visage.errors import UserError, one_line
from visage.infra.remote_store import Store
from visage.workflows.doctor.schema import Answer, Check

SECONDS = 15.0  # for one check, while all go on side by side
LEAST_DISK_GB, FULL = 5.0, 0.95  # Ray keeps no objects on a disk that is fuller
LEAST_SHARED_GB = 1.0
SAME = ("python", "ray", "torch", "visage")
OPEN = (8265, 5000)  # Ray's job server runs and MLflow shows what it holds to whoever asks, unless told otherwise
STEP = """
import torch
found = []
for index in range(torch.cuda.device_count()):
    device = torch.device("cuda", index)
    net = torch.nn.Conv2d(3, 8, 3).to(device)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        net(torch.rand(2, 3, 16, 16, device=device)).square().mean().backward()
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    found.append(f"{torch.cuda.get_device_name(device)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free")
print("; ".join(found))
"""


@dataclass(frozen=True)
class Questions:
    """What an experiment asks of a machine. folder: where its runs/ lies. faces: the folder of its face set, None for
    one at an address; made at first use from `source`, or of nothing where `drawn` is set. addresses: of buckets to be
    read and written. servers: name, host and port of what must be reached. gpus: of a worker."""

    folder: Path
    faces: Path | None = None
    source: Path | None = None
    drawn: bool = False
    addresses: tuple[str, ...] = ()
    servers: tuple[tuple[str, str, int], ...] = ()
    gpus: float = 0.0


@dataclass(frozen=True)
class Looked:
    """versions: of SAME. at: the machine's clock, seconds since 1970."""

    checks: list[Check]
    versions: dict[str, str]
    at: float


Look = tuple[str, Callable[[], Answer]]


def look(questions: Questions, place: str, counted: Mapping[str, float] | None) -> Looked:
    """All checks of this machine, within SECONDS and a little. counted: the CPUs and GPUs that Ray counts here, if one
    runs; one without CPUs is a head that nothing runs on."""
    gpus = None if counted is None else counted.get("GPU", 0.0)
    looks: list[Look] = [
        ("GPUs", partial(_gpus, gpus, questions.gpus)),
        ("shared memory", _shared_memory),
        ("disk", partial(_disk, questions.folder)),
        *((f"port {port}", partial(_open, port)) for port in OPEN),
    ]
    if counted is None or counted.get("CPU"):
        looks += [
            ("folder", partial(_writable, questions.folder, bool(questions.addresses))),
            *((address, partial(_bucket, address)) for address in questions.addresses),
            *((name, partial(_reached, host, port)) for name, host, port in questions.servers),
        ]
        if questions.faces:
            looks.append(("faces", partial(_faces, questions.faces, questions.source, questions.drawn)))
    return Looked(side_by_side(place, looks), installed(), time.time())


def installed() -> dict[str, str]:
    """The versions of SAME."""
    return {name: _version(name) for name in SAME}


def side_by_side(place: str, looks: Sequence[Look]) -> list[Check]:
    """What each look finds, in their order; one that does not answer is broken."""
    checks: dict[int, Check] = {}

    def ask(number: int, subject: str, look: Callable[[], Answer]) -> None:
        try:
            checks[number] = Check.of(place, subject, look())
        except UserError as error:
            checks[number] = Check.refused(place, subject, error)
        except Exception as error:  # of a driver or a client, any
            checks[number] = Check.of(place, subject, ("broken", one_line(error), "read the machine's logs"))

    threads = [Thread(target=ask, args=(number, *each), daemon=True) for number, each in enumerate(looks)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    mend = "see whether it hangs, or a firewall drops what is sent"
    silent: Answer = ("broken", f"no answer within {SECONDS:g} s", mend)
    return [checks.get(number) or Check.of(place, subject, silent) for number, (subject, _) in enumerate(looks)]


def _version(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _gpus(counted: float | None, needed: float) -> Answer:
    """A tiny training step on each GPU, in a process of its own: a driver that hangs or dies takes nothing along."""
    if not counted and not Path("/dev/nvidiactl").exists():
        if counted is None and needed:
            return ("broken", "none, and train.gpus_per_worker asks for one", "set train.gpus_per_worker=0")
        return ("good", "none", "")
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        step = [sys.executable, "-c", STEP]
        done = subprocess.run(step, env=environment, capture_output=True, text=True, timeout=SECONDS - 2)
    except subprocess.TimeoutExpired:
        return ("broken", "a step in bfloat16 hangs", "see nvidia-smi there, and start the machine anew")
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        return ("broken", f"a step in bfloat16 fails: {said[:300]}", "match driver and torch, or free the GPU")
    seen = done.stdout.strip()
    if not seen:
        mend = "install torch's CUDA build and the driver there, and give the container its GPUs"
        return ("broken", "the machine has some, and torch sees none", mend)
    if counted == 0 and needed:
        return ("doubtful", f"{seen}; Ray counts none of them", "start Ray there with --num-gpus")
    return ("good", f"{seen}; a step in bfloat16 runs", "")


def _shared_memory() -> Answer:
    try:
        size = shutil.disk_usage("/dev/shm").total / 1e9
    except OSError:
        return ("doubtful", "there is no /dev/shm", "mount one; Ray keeps its objects there")
    told = f"{size:.3g} GB"
    if size < LEAST_SHARED_GB:
        return ("doubtful", told, "give the container more (--shm-size, or an emptyDir of medium Memory)")
    return ("good", told, "")


def _disk(folder: Path) -> Answer:
    there = _nearest(folder)
    usage = shutil.disk_usage(there)
    free, share = usage.free / 1e9, usage.used / usage.total
    told = f"{free:.3g} of {usage.total / 1e9:.3g} GB free at {there}"
    if free < LEAST_DISK_GB or share > FULL:
        return ("doubtful", told, "free some, as checkpoints and Ray's objects go there")
    return ("good", told, "")


def _writable(folder: Path, own: bool) -> Answer:
    """own: whether each machine may have its own, as a bucket is what they share."""
    there = _nearest(folder)
    if there != folder and not own:
        mend = "give all nodes one file system there (VISAGE_HOME), or a bucket (VISAGE_STORAGE)"
        return ("broken", f"{folder} is not seen here", mend)
    mark = there / f".visage-{secrets.token_hex(4)}"
    try:
        mark.touch()
        mark.unlink()
    except OSError as error:
        mend = f"let user {os.getuid()} write there, or name another folder in VISAGE_HOME"
        return ("broken", f"{there}: {error.strerror}", mend)
    return ("good", f"{there} can be written", "")


def _nearest(folder: Path) -> Path:
    """The folder, or what is there of the way to it."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _faces(folder: Path, source: Path | None, drawn: bool) -> Answer:
    return faces_at(str(folder), (folder / "set.json").is_file(), source, drawn)


def faces_at(place: str, there: bool, source: Path | None, drawn: bool) -> Answer:
    """What is said of a face set. source: of photographs that it can be made from. drawn: it is made of nothing."""
    if there:
        return ("good", f"{place} is there", "")
    if drawn or (source and source.is_dir()):
        return ("good", f"{place} is not there yet and will be prepared", "")
    if source:
        return ("broken", f"{place} is to be prepared from {source}, which is not there", "mend data.source")
    return ("broken", f"{place} is not there", "prepare it with visage prepare, or name another in data.dir")


def _bucket(address: str) -> Answer:
    store, name = Store(address), f".visage-{secrets.token_hex(4)}"
    store.write(name, b"")
    store.delete(name)
    return ("good", "can be read and written", "")


def _reached(host: str, port: int) -> Answer:
    try:
        socket.create_connection((host, port), SECONDS).close()
    except OSError as error:
        return ("broken", f"{host}:{port} cannot be reached ({one_line(error)})", "start it, or let the network pass")
    return ("good", f"{host}:{port} answers", "")


def _open(port: int) -> Answer:
    """Whether a server of this machine answers where others reach it, to one who shows no secret."""
    try:
        address = outward_address()
        status = httpx.get(f"http://{address}:{port}/", timeout=5, follow_redirects=True).status_code
    except (OSError, httpx.HTTPError, httpx.InvalidURL):
        return ("good", "nothing that other machines reach", "")
    if status in (401, 403):
        return ("good", f"{address}:{port} asks for a secret", "")
    mend = "start it with a secret (Ray: RAY_AUTH_MODE=token), or let it listen on 127.0.0.1"
    return ("doubtful", f"{address}:{port} answers whoever asks", mend)


def outward_address() -> str:
    """The one that this machine's packets leave from. Raises OSError without any."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outward:
        outward.connect(("192.0.2.1", 9))  # sends nothing
        return str(outward.getsockname()[0])
