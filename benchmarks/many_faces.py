"""A face set in shards, made large by repetition, at an address: what `shards.py` measures."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ADDRESS, KEY = "s3://faces/many", "of-the-benchmark"
SIZE, PICTURES_OF_ONE = 64, 16
PEOPLE, BESIDE = 340, 40  # drawn in all; of these for validation and test
SHARD_MB, WINDOW, BATCH = 64, 16, 64


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
