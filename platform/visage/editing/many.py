"""Many photographs edited: in a thread for each core, each with a detector and networks of its own, and in batches.

Threads and not processes, as nearly all of the work is in torch, PIL and numpy, which let others run meanwhile, and a
process more would cost seconds to start and the memory of the networks' library again.
"""

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visage.editing.expression import View, checked_intensity, expression_index, locate, on_the_way
from visage.errors import UserError
from visage.faces.align import Detector
from visage.faces.picture import MEGAPIXELS, encode, encode_animation, read_picture
from visage.faces.provenance import xmp_packet
from visage.infra.files import make_folder, write_whole

if TYPE_CHECKING:
    from visage.methods.base import Editor
    from visage.methods.requests import Request
    from visage.registry.bundle import Bundle

BATCH = 8  # more are no faster, and so much is lost when the work is cut off
# A batch holds no more than this many bytes of pixels and one photograph.
LARGE = 96_000_000
# Aligned faces, uint8 N,S,S,3, to K pictures of each, uint8 N*K,S,S,3: those of the first face first.
Change = Callable[["Editor", np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Item:
    """A photograph and the picture to make of it. name: what faults call it."""

    name: str
    photo: Path
    out: Path


def to_expression(expressions: Sequence[str], expression: str, intensity: float, animation: bool) -> Change:
    """An expression by its name, or all pictures on the way to it. Raises UserError for what the model, which knows
    `expressions`, cannot be asked."""
    index = expression_index(expressions, expression)
    shares = on_the_way(checked_intensity(intensity)) if animation else [checked_intensity(intensity)]

    def change(editor: "Editor", faces: np.ndarray) -> np.ndarray:
        source = np.repeat(np.arange(len(faces)), len(shares))
        return editor.run(faces, source.tolist(), [index] * len(source), shares * len(faces)).faces

    return change


def to_driver(driver: Path, bundle: "Bundle", request: "Request") -> Change:
    """The expression of the face in another photograph. Raises UserError for one that does not do."""
    picture = read_picture(driver)
    face = locate(picture, bundle.editor(request).size, Detector().find(picture), str(driver)).face

    def change(editor: "Editor", faces: np.ndarray) -> np.ndarray:
        return editor.run(np.concatenate([faces, face[None]]), range(len(faces)), [len(faces)] * len(faces)).faces

    return change


def to_units(units: Mapping[int, float], bundle: "Bundle", request: "Request") -> Change:
    """Action units by FACS number. Raises UserError for those that the model cannot be told."""
    asked = bundle.editor(request).asked(units)

    def change(editor: "Editor", faces: np.ndarray) -> np.ndarray:
        each = range(len(faces))
        return editor.run(faces, each, each, units=np.tile(asked, (len(faces), 1))).faces

    return change


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

    facts = bundle.facts
    xmp, mine = xmp_packet(facts.name, facts.version, facts.run_id, view), threading.local()

    def run(batch: Sequence[Item]) -> list[tuple[Item, str]]:
        if not hasattr(mine, "editor"):
            torch.set_num_threads(1)  # layers so small gain nothing from more
            mine.editor, mine.detector = bundle.editor(request, device=device), Detector()
        return list(_edit(batch, mine.editor, mine.detector, change, view, xmp, megapixels))

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
    batch: Sequence[Item], editor: "Editor", detector: Detector, change: Change, view: View, xmp: str,
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
            yield from _edit_opened(opened, editor, detector, change, view, xmp)
            opened = []
    yield from _edit_opened(opened, editor, detector, change, view, xmp)


def _edit_opened(
    opened: Sequence[tuple[Item, np.ndarray]], editor: "Editor", detector: Detector, change: Change, view: View,
    xmp: str,
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
    several = len(made) // len(located)
    for place, (item, one) in enumerate(located):
        faces = made[place * several : (place + 1) * several]
        pictures = (one.view(face, view) for face in faces)
        ending = item.out.suffix.lower()
        content = encode_animation(pictures, xmp=xmp) if several > 1 else encode(next(pictures), ending, xmp=xmp)
        make_folder(item.out.parent)
        write_whole(item.out, content)
        yield item, ""
