"""Many photographs edited: in a thread for each core, each with a detector and networks of its own, and in batches.

Threads and not processes, as nearly all of the work is in torch, PIL and numpy, which let others run meanwhile, and a
process more would cost seconds to start and the memory of the networks' library again.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.editing.expression import Change, View, locate, write_edited
from visage.errors import UserError
from visage.faces.align import Detector
from visage.faces.picture import MEGAPIXELS, read_picture
from visage.infra.files import make_folder

if TYPE_CHECKING:
    from visage.methods.base import Editor
    from visage.methods.requests import Request
    from visage.registry.bundle import Bundle

BATCH = 8  # more are no faster, and so much is lost when the work is cut off
# A batch holds no more than this many bytes of pixels and one photograph.
LARGE = 96_000_000


@dataclass(frozen=True)
class Item:
    """A photograph and the picture to make of it. name: what faults call it."""

    name: str
    photo: Path
    out: Path


def edit_all(
    items: Sequence[Item], bundle: "Bundle", request: "Request", change: Change, *, view: View,
    megapixels: float = MEGAPIXELS, threads: int | None = None, device: str = "cpu",
) -> Iterator[tuple[Item, str]]:  # fmt: skip
    """Write what `change` makes of each photograph. Yields each item when it is done, with its fault, which is empty
    where the picture is there; the order is any. megapixels: the most of a photograph. threads: None is one a core.
    device: of the networks.

    The ending of an item's `out` says what is written; where there are several pictures of a face it is an animation,
    a .webp. Raises NotWritten when the disk refuses; what was yielded stays.
    """
    import torch

    mine = threading.local()

    def run(batch: Sequence[Item]) -> list[tuple[Item, str]]:
        if not hasattr(mine, "editor"):
            torch.set_num_threads(1)  # layers so small gain nothing from more
            mine.editor, mine.detector = bundle.editor(request, device=device), Detector()
        return list(_edit(batch, bundle, mine.editor, mine.detector, change, view, megapixels))

    before = torch.get_num_threads()
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    with ThreadPoolExecutor(threads or os.cpu_count(), "edit") as pool:
        try:
            for done in as_completed([pool.submit(run, batch) for batch in batches]):
                yield from done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            torch.set_num_threads(before)


def _edit(
    batch: Sequence[Item], bundle: "Bundle", editor: "Editor", detector: Detector, change: Change, view: View,
    megapixels: float,
) -> Iterator[tuple[Item, str]]:  # fmt: skip
    """A batch, in parts where its photographs are large."""
    opened: list[tuple[Item, np.ndarray]] = []
    for item in batch:
        try:
            opened.append((item, read_picture(item.photo, name=item.name, megapixels=megapixels)))
        except UserError as error:
            yield item, str(error)
        if sum(picture.size for _, picture in opened) > LARGE:
            yield from _edit_opened(opened, bundle, editor, detector, change, view)
            opened = []
    yield from _edit_opened(opened, bundle, editor, detector, change, view)


def _edit_opened(
    opened: Sequence[tuple[Item, np.ndarray]], bundle: "Bundle", editor: "Editor", detector: Detector, change: Change,
    view: View,
) -> Iterator[tuple[Item, str]]:  # fmt: skip
    located = []
    for (item, picture), found in zip(opened, detector.find_all([picture for _, picture in opened]), strict=True):
        try:
            located.append((item, locate(picture, editor.size, found, item.name)))
        except UserError as error:
            yield item, str(error)
    if not located:
        return
    made = change(editor, np.stack([one.face for _, one in located]))
    for (item, one), faces in zip(located, made.reshape(len(located), -1, *made.shape[1:]), strict=True):
        make_folder(item.out.parent)
        write_edited(item.out, one, faces, bundle, view)
        yield item, ""
