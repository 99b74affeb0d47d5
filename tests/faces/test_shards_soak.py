"""A set that is larger than what a process or its disk may hold of it."""

import os
import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from visage.config.data import Data, Shares
from visage.config.experiment import Train
from visage.faces.faceset import FaceSet, write_face_set
from visage.faces.layouts import Row
from visage.faces.shard_files import ShardFiles
from visage.faces.shared import opened, upload
from visage.faces.stream import Stream
from visage.methods.by_expression.batches import NamedBatches
from visage.training.streamed import StreamedBatches

pytestmark = pytest.mark.soak
MB = 2**20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_two_passes_over_a_bucket_take_no_more_memory_and_disk_than_a_window(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 MB of noise in shards of 2 MB, a window of four of them, a cache of 10 MB."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    face = np.frombuffer(secrets.token_bytes(32 * 32 * 3), np.uint8).reshape(32, 32, 3)
    rows = [Row(Path(), f"p{k}", name) for k in range(12_500) for name in ("neutral", "happy", "sad", "fear")]
    made = write_face_set(
        tmp_path / "made",
        rows[:80],
        [face] * 80,
        name="noise",
        layout="folder",
        size=32,
        shares=Shares(),
        training=((row, random.integers(0, 256, face.shape, dtype=np.uint8)) for row in rows[80:]),
        megabytes=2,
    )
    upload(replace(made, address=bucket))
    faces = opened(Data.model_validate({"dir": bucket}))
    stream = Stream(faces, ShardFiles(faces, 10 * MB), width=4, seed=0)

    def of(window: FaceSet) -> NamedBatches:
        return NamedBatches(window, Train(), torch.device("cpu"))

    batches = StreamedBatches(stream, of(faces), of)
    held, whole = [], faces.facts["shards"]["pictures"]
    for first in range(0, 2 * whole, 64):
        batches.draw(first, 64)
        if first % (64 * 100) == 0:
            held.append(resident())
            assert sum(path.stat().st_size for path in (faces.dir / "shards").glob("*.parquet")) <= 10 * MB
    batches.close()
    assert len(faces.shards) > 60
    early, late = held[len(held) // 10], max(held[len(held) // 10 :])
    assert late - early < 40 * MB
