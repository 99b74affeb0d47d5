"""Photographs to aligned faces: in this process, over all cores, or over a Ray cluster."""

import functools
import hashlib
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visage.errors import UserError, one_line
from visage.faces.align import EYES
from visage.faces.picture import read_picture
from visage.infra.ray_session import local_ray, root

if TYPE_CHECKING:
    from visage.faces.align import Detector

# Below this, starting worker processes takes longer than the work.
FEW_PHOTOGRAPHS = 48
# Eight photographs at once cost the detector 13 % less than one by one at 640 px, and 28 % less at 320 px.
BATCH = 8
# So much is lost of each core's work when a run is cut off.
BATCHES_OF_A_TASK = 4
# A batch holds no more than this many bytes of pixels and one photograph.
LARGE = 96_000_000
NOT_THERE = "there is no such file"


def key(path: Path, size: int) -> bytes:
    """What a photograph's aligned face depends on, as 32 bytes: another file of the same name has another key."""
    facts = path.stat()
    return hashlib.sha256(f"{path.absolute()}\0{facts.st_size}\0{facts.st_mtime_ns}\0{size}\0{EYES}".encode()).digest()


def aligned(
    paths: Sequence[Path], done: Sequence[bool], source: Path, size: int
) -> Generator[tuple[int, np.ndarray, str]]:
    """(index, face uint8 size,size,3, reason) of every photograph not yet done; the face is black where a reason is.

    The order is any. Photographs go in batches that depend on `paths` alone, so that what was done before changes no
    bit of the rest. Few are done in this process; more go over all cores by Ray Data, or over the cluster at
    RAY_ADDRESS, whose nodes read the photographs by their paths. Raises UserError when a node does not see them.
    """
    items: list[dict[str, Any]] = [
        {"index": k, "path": str(path.absolute()), "name": name_in(source, path)} for k, path in enumerate(paths)
    ]
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    batches = [batch for batch in batches if not all(done[item["index"]] for item in batch)]
    with _results(batches, size) as results:
        for result in results:
            index, reason = int(result["index"]), str(result["reason"])
            if reason == NOT_THERE and paths[index].exists():
                raise UserError(
                    f"{source}: a node of the Ray cluster does not see this folder; put the photographs on storage "
                    "that all nodes share under the same path."
                )
            if not done[index]:
                yield index, result["face"], reason


def name_in(source: Path, path: Path) -> str:
    return path.relative_to(source).as_posix()


def align_batch(items: Sequence[Mapping[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    """Of each {index, path, name}: {index, face uint8 size,size,3, reason}; the face is black where a reason is."""
    waiting: list[tuple[Mapping[str, Any], np.ndarray]] = []
    for item in items:
        try:
            waiting.append((item, read_picture(Path(item["path"]), name=item["name"])))
        except UserError as error:
            yield _failed(item, size, error)
        if sum(picture.size for _, picture in waiting) > LARGE:
            yield from _aligned(waiting, size)
            waiting = []
    yield from _aligned(waiting, size)


def align_in_worker(batch: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """`align_batch` in one of many processes."""
    with _one_thread():
        return list(align_batch(batch["items"], size))


def _aligned(waiting: Sequence[tuple[Mapping[str, Any], np.ndarray]], size: int) -> Iterator[dict[str, Any]]:
    from visage.faces.align import align, one_face

    for (item, picture), found in zip(waiting, _detector().find_all([p for _, p in waiting]), strict=True):
        try:
            face, _ = align(picture, one_face(found, item["name"]).landmarks, size)
            yield {"index": item["index"], "face": face, "reason": ""}
        except UserError as error:
            yield _failed(item, size, error)


def _failed(item: Mapping[str, Any], size: int, error: UserError) -> dict[str, Any]:
    reason = str(error).removeprefix(f"{item['name']}: ").partition(";")[0]
    return {"index": item["index"], "face": np.zeros((size, size, 3), np.uint8), "reason": reason}


@contextmanager
def _results(batches: Sequence[Sequence[Mapping[str, Any]]], size: int) -> Iterator[Iterable[Mapping[str, Any]]]:
    if sum(map(len, batches)) < FEW_PHOTOGRAPHS:
        with _one_thread():
            yield (result for batch in batches for result in align_batch(batch, size))
        return
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with local_ray(dashboard=False):
        blocks = -(-len(batches) // BATCHES_OF_A_TASK)
        dataset = ray.data.from_items([{"items": list(batch)} for batch in batches], override_num_blocks=blocks)
        try:
            yield dataset.flat_map(functools.partial(align_in_worker, size=size)).iter_rows()
        except ray.exceptions.RayError as error:
            raise UserError(
                f"Ray's workers cannot align the photographs ({one_line(root(error))}); see that every node has memory "
                "and this version of visage, then run the same command again: it goes on from here."
            ) from None


@functools.cache
def _detector() -> "Detector":
    from visage.faces.align import Detector

    return Detector()


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: the detector's layers are so small that more threads wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
