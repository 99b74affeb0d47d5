"""A face set in shards, from an S3-compatible store: how soon it trains, what it waits for, how it mixes.

    python benchmarks/shards.py FOLDER [--pictures 2000000] [--parts make first read pace step ray mix]

FOLDER gets a server of S3 (SeaweedFS) with its data, some 9 GB a million faces of 64 px, and stays for the next call.

- make: 340 procedural people of 16 pictures, those of training again and again under new names, in shards of 64 MB.
- first: a process on a machine that has nothing: seconds to its first step on the CPU. The judges are at the address.
- read: a whole pass of UC-GAN's tuples as fast as they are drawn, and the memory on the way.
- pace: the share of its time that a consumer waits who takes so many tuples a second, as a GPU would.
- step: steps of a small UC-GAN on the CPU, from shards and from the packed sample: their pace, and the share of time
  that a step waits for its batch.
- ray: pictures a second of the first 40 shards, by the plain reader and by Ray Data.
- mix: what a pass draws against as many draws from all people at once; names alone, no pictures.

Each part is a process of its own in an empty folder and prints a line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from machine import measured_with
from many_faces import ADDRESS, BATCH, KEY, SIZE, WINDOW, experiment, make, streamed

ROOT = Path(__file__).resolve().parents[1]
SOME = 40  # shards that both readers read
PACES = (500, 1_000, 2_000)


def resident() -> int:
    """The memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def first(began: float) -> dict[str, Any]:
    from visage.faces.shared import opened
    from visage.judging.networks.train import face_networks
    from visage.training.trainer import Trainer, here

    asked, seconds = experiment(), {"imported": time.time() - began}
    faces = opened(asked.data)
    seconds["set opened"] = time.time() - began
    networks = face_networks(faces, asked.judge)
    seconds["judges there"] = time.time() - began
    trainer = Trainer(asked, faces, networks, here(asked.train))
    seconds["trainer made"] = time.time() - began
    trainer.drawn.at(0)
    seconds["first batch"] = time.time() - began
    trainer.step()
    seconds["first step"] = time.time() - began
    trainer.close()
    return {"seconds": {name: round(value, 1) for name, value in seconds.items()}, "memory_mb": resident()}


def read(_: float) -> dict[str, Any]:
    from visage.training.ahead import Ahead

    batches, faces = streamed(cache_gb=2)
    ahead, whole = Ahead(lambda first: batches.draw(first, BATCH), BATCH), faces.facts["shards"]["pictures"]
    ahead.at(0)
    start, used, memory, disk = time.monotonic(), time.process_time(), {}, []
    for place, at in enumerate(range(BATCH, whole, BATCH)):
        ahead.at(at)
        if at * 10 // whole not in memory:
            memory[at * 10 // whole] = resident()
        if place % 1000 == 0:
            disk.append(sum(path.stat().st_size for path in (faces.dir / "shards").glob("*.parquet")))
    seconds, used = time.monotonic() - start, time.process_time() - used
    found: dict[str, Any] = {"tuples_a_second": round(whole / seconds), "cpu_seconds": round(used), "memory_mb": memory}
    found |= {"seconds": round(seconds), "disk_gb_at_most": round(max(disk) / 1e9, 2), "cache_gb": 2}
    batches.close()
    ahead.close()
    return found


def pace(_: float) -> dict[str, Any]:
    from visage.training.ahead import Ahead
    from visage.training.trainer import DEPTH_IN_SHARDS

    batches, _faces = streamed(cache_gb=2)
    batches.draw(0, BATCH)
    found: dict[str, Any] = {}
    for speed in (*PACES, *PACES):
        for name, own in (("packed", batches.sample), ("shards", batches)):
            ahead = Ahead(lambda first, own=own: own.draw(first, BATCH), BATCH, DEPTH_IN_SHARDS)  # type: ignore[misc]
            ahead.at(0)
            turns, waited, at, start = batches.turn, 0.0, BATCH, time.monotonic()
            due = start
            while (now := time.monotonic()) - start < 12:
                ahead.at(at)
                waited, at, due = waited + time.monotonic() - now, at + BATCH, max(due, now) + BATCH / speed
                time.sleep(max(0.0, due - time.monotonic()))
            told = f"waits {waited / (time.monotonic() - start):.1%}, {at / (time.monotonic() - start):.0f} a second"
            told += f", {batches.turn - turns} turns" if own is batches else ""
            found.setdefault(f"{speed} tuples a second, {name}", []).append(told)
            ahead.close()
    batches.close()
    return found | {"load": os.getloadavg()}


def step(_: float) -> dict[str, Any]:
    from visage.faces.shared import opened
    from visage.judging.networks.train import face_networks
    from visage.training.trainer import Trainer, here

    asked = experiment(method={"width": 8, "discriminator_width": 8}, train={"batch": BATCH})
    faces = opened(asked.data)
    networks, found = face_networks(faces, asked.judge), {}
    for name, own in (("shards", faces), ("packed", replace(faces, shards=())), ("shards again", faces)):
        trainer = Trainer(asked, own, networks, here(asked.train))
        trainer.step()
        waited, at, memory, turns = 0.0, trainer.drawn.at, [], set()

        def timed(images: int, at: Any = at) -> Any:
            nonlocal waited
            start = time.monotonic()
            batch = at(images)
            waited += time.monotonic() - start
            return batch

        trainer.drawn.at = timed  # type: ignore[method-assign]
        start, used, images = time.monotonic(), time.process_time(), trainer.images
        while time.monotonic() - start < 60:
            trainer.step()
            memory.append(resident())
            turns.add(getattr(trainer.batches, "turn", 0))
        seconds, images = time.monotonic() - start, trainer.images - images
        found[name] = {
            "tuples_a_second": round(images / seconds, 1),
            "cpu_ms_a_tuple": round(1000 * (time.process_time() - used) / images, 2),
            "waits": f"{waited / seconds:.2%}",
            "turns": len(turns),
            "memory_mb": [memory[len(memory) // 4], memory[len(memory) // 2], memory[-1]],
        }
        trainer.close()
    return found


def ray(_: float) -> dict[str, Any]:
    import psutil
    import ray
    from pyarrow.fs import FileSystem

    from visage.faces.shards import read as laid

    batches, faces = streamed(cache_gb=0)
    into, some = np.zeros((batches.stream.room, SIZE, SIZE, 3), np.uint8), faces.shards[:SOME]
    files, path = FileSystem.from_uri(ADDRESS)
    ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    own = psutil.Process()
    of_visage = resident()

    def processes() -> list[psutil.Process]:
        return [own, *own.children(recursive=True)]

    def plain() -> Iterator[int]:
        for shard in some:
            laid(batches.stream.files.read(shard), into)
            yield shard.pictures

    def data(shuffle: int | None) -> Iterator[int]:
        read = ray.data.read_parquet([f"{path}/shards/{shard.name}" for shard in some], filesystem=files)
        for batch in read.iter_batches(batch_size=512, local_shuffle_buffer_size=shuffle, batch_format="pyarrow"):
            yield len(np.frombuffer(batch.column("picture").combine_chunks().buffers()[1], np.uint8)) // SIZE**2 // 3

    found: dict[str, Any] = {"memory_mb_of_the_plain_reader": of_visage}
    for _ in range(2):
        for name, read in (("plain", plain()), ("ray", data(None)), ("ray, shuffled", data(4 * batches.stream.room))):
            start, used = time.monotonic(), {p.pid: sum(p.cpu_times()[:2]) for p in processes()}
            count = sum(read)
            seconds, after = time.monotonic() - start, {p.pid: sum(p.cpu_times()[:2]) for p in processes()}
            cpu = sum(value - used.get(pid, 0) for pid, value in after.items())
            memory = sum(process.memory_info().rss for process in processes()) // 2**20
            told = f"{count} pictures, {count / seconds:.0f} a second, {1e6 * cpu / count:.0f} us of CPU each"
            found.setdefault(name, []).append(f"{told}, {memory} MB in all processes")
    return found | {"load": os.getloadavg()}


def mix(_: float) -> dict[str, Any]:
    from visage.faces.shared import opened
    from visage.faces.stream import Order

    shards, random = opened(experiment().data).shards, np.random.default_rng(0)
    ends = np.cumsum([0, *(shard.people for shard in shards)])
    order, turn = Order(len(shards), WINDOW, 0), sum(shard.pictures for shard in shards) // len(shards)
    everybody, passes = int(ends[-1]), 3
    counts, windows = np.zeros(everybody, int), np.zeros((passes, everybody), bool)
    met = []
    for number in range((passes + 1) * len(shards)):
        positions = range(number, number + order.width)
        stays = [np.arange(ends[k], ends[k + 1]) for k in map(order.at, positions)]
        people = np.concatenate(stays)
        own, of = np.unique(random.integers(len(people), size=turn), return_counts=True)
        # Whole stays alone: those that begin in the passes after the first and end before the last.
        passed = np.repeat(np.array(positions) // len(shards), [len(stay) for stay in stays])[own]
        counted = (passed > 0) & (passed < passes)
        counts[people[own[counted]]] += of[counted]
        if 0 in map(order.at, positions) and number < passes * len(shards):
            windows[number // len(shards), people] = True
        met.append(len(people))
    spread = counts.var() / counts.mean()
    return {
        "people": everybody,
        "people_in_a_window": round(np.mean(met)),
        "variance_of_a_person's_draws_to_its_mean (1 from all at once)": round(spread, 3),
        "share_of_people_that_one_can_meet": {
            f"{k} passes": round(float(windows[:k].any(0).mean()), 3) for k in range(1, passes + 1)
        },
        "same_person_twice_in_a_batch_of_16": {
            "window": round(16 * 15 / 2 / np.mean(met), 4),
            "all": round(16 * 15 / 2 / everybody, 4),
        },
    }


PARTS = {"first": first, "read": read, "pace": pace, "step": step, "ray": ray, "mix": mix}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=2_000_000)
    parser.add_argument("--parts", nargs="*", default=["make", *PARTS])
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)  # when the process of a part was begun
    asked = parser.parse_args()
    if asked.inside:
        [part] = asked.parts
        found = make(asked.pictures) if part == "make" else PARTS[part](asked.inside)
        print(json.dumps({part: found | measured_with("pyarrow", "torch")}), flush=True)
        return
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    from k8s.servers import objects

    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with objects(folder, KEY) as variables:
        environment = os.environ | variables | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT / "platform", ROOT)))}
        for part in asked.parts:
            with tempfile.TemporaryDirectory(dir=folder, prefix="machine-") as machine:
                command = [sys.executable, __file__, machine, "--pictures", str(asked.pictures), "--parts", part]
                subprocess.run([*command, "--inside", str(time.time())], cwd=machine, env=environment, check=True)


if __name__ == "__main__":
    main()
