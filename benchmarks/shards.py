"""A face set in shards, from an S3-compatible store: how soon it trains, what it waits for, how it mixes.

    python benchmarks/shards.py FOLDER [--pictures 2000000] [--parts make first read step ray mix]

FOLDER gets a server of S3 (SeaweedFS) with its data, some 9 GB a million faces of 64 px, and stays for the next call.

- make: 340 procedural people of 16 pictures, those of training again and again under new names, in shards of 64 MB.
- first: a process on a machine that has nothing: seconds to its first step on the CPU. The judges are at the address.
- read: a whole pass of UC-GAN's tuples as fast as they are drawn, and the memory on the way; then for a consumer that
  takes so many tuples a second, as a GPU would: the share of its time that it waits.
- step: steps of a small UC-GAN on the CPU, from shards and from the packed sample: their pace, and the share of time
  that a step waits for its batch.
- ray: pictures a second of the first 40 shards, by the plain reader and by Ray Data.
- mix: what a pass draws against as many draws from all people at once; names alone, no pictures.

Each part is a process of its own in an empty folder and prints a line of JSON.
"""

import argparse
import json
import os
import shutil
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

ROOT = Path(__file__).resolve().parents[1]
ADDRESS, KEY = "s3://faces/many", "of-the-benchmark"
SIZE, PICTURES_OF_ONE = 64, 16
PEOPLE, BESIDE = 340, 40  # drawn in all; of these for validation and test
SHARD_MB, WINDOW, BATCH, SOME = 64, 16, 64, 40
PACES = (1_000, 2_000, 4_000)


def resident() -> int:
    """The memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def drawn(number: int) -> list[tuple[Any, np.ndarray]]:
    """A procedural person's pictures."""
    from visage.faces.facs import EXPRESSIONS
    from visage.faces.layouts import Row
    from visage.faces.synthetic.people import picture_of

    found = []
    for name in EXPRESSIONS:
        for session in (0, 1):
            row, face = picture_of(number, name, session, SIZE, 0)
            found.append((Row(Path(), row.identity, name, str(session), aus=tuple(row.aus)), face))
    return found


def make(pictures: int) -> dict[str, Any]:
    from joblib import Parallel, delayed

    from visage.config.data import Shares
    from visage.config.experiment import Judge
    from visage.faces.faceset import IN_SHARDS, write_face_set
    from visage.faces.shards import facts_of, write_shards
    from visage.faces.shared import opened
    from visage.infra.remote_store import Store
    from visage.judging.networks.train import face_networks

    start = time.monotonic()
    people: list[list[tuple[Any, np.ndarray]]] = Parallel(n_jobs=-1)(delayed(drawn)(k) for k in range(PEOPLE))
    store, out, shards = Store(ADDRESS), Path("set"), []
    of_one = SHARD_MB * 1_000_000 // (SIZE * SIZE * 3 * PICTURES_OF_ONE) + 1
    training, sample = people[BESIDE:], {}
    names = np.random.default_rng(0).permutation(pictures // PICTURES_OF_ONE)
    for first in range(0, len(names), of_one):

        def again(first: int = first) -> Iterator[tuple[Any, np.ndarray]]:
            for name in names[first : first + of_one].tolist():
                for row, face in training[name % len(training)]:
                    yield replace(row, identity=f"p{name:06d}"), face

        if not sample:
            sample = dict(enumerate(again()))
        written, _ = write_shards(Path("shards"), again(), SIZE, 2 * SHARD_MB, units=True)
        name = f"{len(shards):05d}.parquet"
        (Path("shards") / written[0].name).rename(Path("shards") / name)
        shards.append(replace(written[0], name=name))
        (store / "shards").push(Path("shards"))
        shutil.rmtree("shards")
    rows = [one for person in people[:BESIDE] for one in person] + list(sample.values())
    parts = {f"p{name:06d}": "train" for name in names.tolist()}
    parts |= {people[k][0][0].identity: "validation" if k < BESIDE // 2 else "test" for k in range(BESIDE)}
    kind: dict[str, Any] = {"name": "many", "layout": "synthetic", "size": SIZE, "shares": Shares()}
    made = write_face_set(out, [row for row, _ in rows], [face for _, face in rows], kept=parts, **kind)
    facts = made.facts | {"format": IN_SHARDS, "shards": facts_of(shards, made.facts["sha256"]), "parts": {}}
    (out / "set.json").write_text(json.dumps(facts))
    store.push(out, last=("set.json",))
    seconds = round(time.monotonic() - start)
    face_networks(opened(experiment().data), Judge(images=4_000))
    bytes_of = sum(shard.bytes for shard in shards)
    return {"pictures": facts["shards"]["pictures"], "shards": len(shards), "GB": bytes_of / 1e9, "seconds": seconds}


def experiment(**changes: Any) -> Any:
    from visage.config.experiment import Experiment

    wanted = {
        "data": {"dir": ADDRESS, "size": SIZE, "shards": {"window": WINDOW}},
        "judge": {"images": 4_000},
        "train": {"batch": 16},
    }
    return Experiment.model_validate(wanted | changes)


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


def streamed(cache_gb: float) -> Any:
    """A face set's batches, and the set."""
    import torch

    from visage.faces.shard_files import ShardFiles
    from visage.faces.shared import opened
    from visage.faces.stream import Stream
    from visage.methods.by_expression.batches import NamedBatches
    from visage.training.streamed import StreamedBatches

    asked = experiment()
    faces = opened(asked.data)
    stream = Stream(faces, ShardFiles(faces, cache_gb * 1e9), width=WINDOW, seed=0)

    def of(window: Any) -> NamedBatches:
        return NamedBatches(window, asked.train, torch.device("cpu"))

    return StreamedBatches(stream, of(faces), of), faces


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
    found["waits"] = {}
    for pace in PACES:
        waited, start, at = 0.0, time.monotonic(), at + BATCH
        due = start
        while (now := time.monotonic()) - start < 40:
            ahead.at(at)
            waited, at, due = waited + time.monotonic() - now, at + BATCH, max(due, now) + BATCH / pace
            time.sleep(max(0.0, due - time.monotonic()))
        found["waits"][pace] = f"{waited / (time.monotonic() - start):.2%}"
    batches.close()
    ahead.close()
    return found


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
        while time.monotonic() - start < 120:
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

    batches, faces = streamed(cache_gb=0)
    found, some = {}, faces.shards[:SOME]
    whole = sum(shard.pictures for shard in some)
    from visage.faces.shards import read as laid

    into = np.zeros((batches.stream.room, SIZE, SIZE, 3), np.uint8)
    laid(batches.stream.files.read(some[0]), into)
    start, used = time.monotonic(), time.process_time()
    for shard in some:
        laid(batches.stream.files.read(shard), into)
    found["plain"] = {"pictures_a_second": round(whole / (time.monotonic() - start)), "memory_mb": resident()}
    found["plain"]["cpu_us_a_picture"] = round(1e6 * (time.process_time() - used) / whole, 1)
    ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False, logging_level="error")
    files, path = FileSystem.from_uri(ADDRESS)
    for name, shuffle in (("ray", None), ("ray, shuffled", 4 * batches.stream.room)):
        data = ray.data.read_parquet([f"{path}/shards/{shard.name}" for shard in some], filesystem=files)
        most, count, start = 0.0, 0, time.monotonic()
        for batch in data.iter_batches(batch_size=512, local_shuffle_buffer_size=shuffle, batch_format="pyarrow"):
            pixels = batch.column("picture").combine_chunks()
            count += len(np.frombuffer(pixels.buffers()[1], np.uint8)) // (SIZE * SIZE * 3) and len(pixels)
            if count % 10_240 < 512:
                own = psutil.Process()
                most = max(most, sum(p.memory_info().rss for p in [own, *own.children(recursive=True)]) / 2**20)
        speed = round(count / (time.monotonic() - start))
        found[name] = {"pictures_a_second": speed, "pictures": count, "memory_mb_of_all_processes": round(most)}
    return found


def mix(_: float) -> dict[str, Any]:
    from visage.faces.shared import opened
    from visage.faces.stream import Order

    shards, random = opened(experiment().data).shards, np.random.default_rng(0)
    ends = np.cumsum([0, *(shard.people for shard in shards)])
    order, turn = Order(len(shards), WINDOW, 0), sum(shard.pictures for shard in shards) // len(shards)
    everybody, passes = int(ends[-1]), 3
    counts, windows = np.zeros(everybody, int), np.zeros((passes, everybody), bool)
    met = []
    for number in range(passes * len(shards)):
        live = [order.at(number + k) for k in range(order.width)]
        people = np.concatenate([np.arange(ends[k], ends[k + 1]) for k in live])
        if number >= len(shards):  # the first window's shards are new to it for less than a whole stay
            counts += np.bincount(random.choice(people, turn), minlength=everybody)
        if live.count(0):
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


PARTS = {"first": first, "read": read, "step": step, "ray": ray, "mix": mix}


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
