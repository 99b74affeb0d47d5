"""From photographs, or procedural people, to a face set on disk."""

import functools
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from visage.config.experiment import Data, Shares
from visage.errors import UserError
from visage.faces.checks import check_enough, check_settings, existing, listing, name_in
from visage.faces.faceset import FaceSet, prepare_command, write_face_set
from visage.faces.facs import EXPRESSIONS
from visage.faces.layouts import LICENCES, Row, passed_over, read_layout
from visage.faces.picture import read_picture

if TYPE_CHECKING:
    from visage.faces.align import Detector

SIZES = (32, 64, 128, 256, 512)
# Below these, starting worker processes takes longer than the work.
FEW_PHOTOGRAPHS = 48
FEW_RENDERINGS = 400

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""
Result = tuple[int, Row, np.ndarray, str]
"""Index, row, face, and the reason for leaving it out or an empty text."""


def prepare(
    layout: str,
    source: Path | None,
    out: Path,
    size: int,
    shares: Shares,
    *,
    people: int = 160,
    pictures: int = 2,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> FaceSet:
    """Make the face set `out`, or reuse it when it is there already and was made with the same settings.

    `layout`: synthetic, or a name in LAYOUTS with its folder `source`; `size`: side of a face, a power of two from 32
    to 512; `people`, `pictures` (of each person and expression) and `seed` are for synthetic alone. Photographs are
    detected and aligned over all cores by Ray Data; those that are broken, without a face or with several are left out
    and listed in set.json. Raises UserError when `out` holds something else, or too little remains.
    """
    if size not in SIZES:
        raise UserError(f"--size {size}: is no power of two from 32 to 512; use one of {', '.join(map(str, SIZES))}.")
    settings: dict[str, Any] = {"layout": layout, "size": size, "shares": shares.model_dump()}
    rows: list[Row] = []
    missed: list[dict[str, str]] = []
    if layout == "synthetic":
        settings |= {"people": people, "pictures": pictures, "seed": seed}
    else:
        if source is None:
            command = prepare_command(out, layout, None, size)
            raise UserError(f"layout {layout}: needs the folder of its photographs; run {command}.")
        rows = read_layout(layout, source)
        settings["source_sha256"] = listing(rows, source)
    if (there := existing(out, settings)) is not None:
        return there
    if layout == "synthetic":
        source, name = out, f"synthetic-{seed}"
        total, results = people * pictures * len(EXPRESSIONS), _rendered(people, pictures, size, seed)
    else:
        assert source is not None
        name = source.resolve().name
        missed = [
            {"path": path.relative_to(source).as_posix(), "reason": f"is not named as layout {layout} names pictures"}
            for path in passed_over(source, rows)
        ]
        total, results = len(rows), _aligned(rows, source, size)
    used: dict[int, Row] = {}
    left_out: dict[int, dict[str, str]] = {}
    with closing(results), _spool(out, size, total) as spool:
        for done, (index, row, face, reason) in enumerate(results, 1):
            if reason:
                left_out[index] = {"path": name_in(source, row), "reason": reason}
            else:
                used[index] = row
                spool.write(index, face)
            progress(done, total)
        missed += [entry for _, entry in sorted(left_out.items())]
        usable = [row for _, row in sorted(used.items())]
        check_enough(usable, len(usable) + len(missed), missed, source, shares)
        return write_face_set(
            out,
            usable,
            spool.in_order(),
            name=name,
            layout=layout,
            size=size,
            shares=shares,
            licence=LICENCES[layout],
            settings=settings,
            left_out=missed,
        )


def prepare_if_absent(data: Data, progress: Progress = lambda done, total: None) -> FaceSet:
    """The face set of an experiment's data section, made at first use where `layout` says how.

    A set that is there needs its photographs no more; where they are there too, it must be made of them. Raises
    UserError when the set is not there and cannot be made, or was made with other settings.
    """
    there = (data.dir / "set.json").is_file()
    layout = data.layout
    if layout == "synthetic" or (layout and data.source and (data.source.is_dir() or not there)):
        return prepare(
            layout,
            data.source,
            data.dir,
            data.size,
            data.shares,
            people=data.people,
            pictures=data.pictures,
            seed=data.seed,
            progress=progress,
        )
    if not there:
        command = prepare_command(data.dir, layout or "folder", data.source, data.size)
        raise UserError(f"{data.dir}: holds no face set; make it with {command}.")
    faces = FaceSet.open(data.dir)
    wanted = {"size": data.size} | ({"layout": layout, "shares": data.shares.model_dump()} if layout else {})
    check_settings(data.dir, faces.facts["settings"] | {"size": faces.size, "layout": faces.layout}, wanted)
    return faces


def align_item(item: Mapping[str, Any], size: int) -> dict[str, Any]:
    """{index, path, name} -> {index, face uint8 size,size,3, reason}; the face is black where there is a reason."""
    from visage.faces.align import align, one_face

    name = item["name"]
    try:
        picture = read_picture(Path(item["path"]), name=name)
        face, _ = align(picture, one_face(_detector().find(picture), name).landmarks, size)
        reason = ""
    except UserError as error:
        face = np.zeros((size, size, 3), np.uint8)
        reason = str(error).removeprefix(f"{name}: ").partition(";")[0]
    return {"index": item["index"], "face": face, "reason": reason}


def align_in_worker(item: Mapping[str, Any], size: int) -> dict[str, Any]:
    """`align_item` in one of many processes."""
    with _one_thread():
        return align_item(item, size)


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


def _aligned(rows: Sequence[Row], source: Path, size: int) -> Generator[Result]:
    """Every photograph's aligned face, in any order."""
    items = [{"index": k, "path": str(row.path.absolute()), "name": name_in(source, row)} for k, row in enumerate(rows)]
    if len(items) < FEW_PHOTOGRAPHS:
        with _one_thread():
            for item in items:
                result = align_item(item, size)
                yield result["index"], rows[result["index"]], result["face"], result["reason"]
        return
    with _ray() as ray:
        blocks = min(len(items) // 4, 32 * int(ray.cluster_resources().get("CPU", 1)))
        dataset = ray.data.from_items(items, override_num_blocks=blocks).map(align_in_worker, fn_kwargs={"size": size})
        for result in dataset.iter_rows():
            index = int(result["index"])
            yield index, rows[index], result["face"], result["reason"]


def _rendered(people: int, pictures: int, size: int, seed: int) -> Generator[Result]:
    """Every picture of the procedural people, person by person."""
    with _pool(people * pictures * len(EXPRESSIONS)) as parallel:
        everybody = parallel(_person, ((person, pictures, size, seed) for person in range(people)))
        for index, (row, face) in enumerate(itertools.chain.from_iterable(everybody)):
            yield index, row, face, ""


@contextmanager
def _pool(total: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A starmap in order, over all cores when there is enough to do; its processes end with the block."""
    if total < FEW_RENDERINGS:
        yield itertools.starmap
        return
    # Processes without Ray: it takes as long to start as this takes to finish.
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    run = Parallel(n_jobs=-1, return_as="generator")
    try:
        yield lambda function, items: run(delayed(function)(*item) for item in items)
    finally:
        get_reusable_executor().shutdown(kill_workers=True)


def _person(person: int, pictures: int, size: int, seed: int) -> list[tuple[Row, np.ndarray]]:
    from visage.faces.synthetic import picture_of

    shots = [
        picture_of(person, expression, session, size, seed) for session in range(pictures) for expression in EXPRESSIONS
    ]
    return [
        (Row(Path(), made.identity, made.expression, str(made.session), aus=tuple(made.aus.tolist())), face)
        for made, face in shots
    ]


@contextmanager
def _ray() -> Iterator[Any]:
    """Ray with ray.data: the one that runs, or a quiet local one that ends with the block."""
    # A local cluster listens on loopback; without this it asks for a token, or writes one into the home folder.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")  # else they starve behind whatever the machine does besides
    import ray
    import ray.data

    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


class _Spool:
    """Faces of one size in a nameless file, written in any order and read back in the order of their indexes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.shape, self.places = file, (size, size, 3), dict[int, int]()

    def write(self, index: int, face: np.ndarray) -> None:
        self.places[index] = self.file.tell()
        self.file.write(np.ascontiguousarray(face).tobytes())

    def in_order(self) -> Iterator[np.ndarray]:
        for index in sorted(self.places):
            self.file.seek(self.places[index])
            yield np.frombuffer(self.file.read(int(np.prod(self.shape))), np.uint8).reshape(self.shape)


@contextmanager
def _spool(out: Path, size: int, total: int) -> Iterator[_Spool]:
    """A spool on the disk of `out`, which also shows before the long work whether `total` faces fit there."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        needed, free = 3 * total * size * size * 3, shutil.disk_usage(out.parent).free  # spool, faces.npy and PNGs
        if needed > free:
            raise UserError(
                f"{out}: {total} faces of {size} px need up to {needed / 1e9:.3g} GB and the disk has {free / 1e9:.3g} "
                "GB free; make room, or ask for fewer or smaller ones."
            )
        with tempfile.TemporaryFile(dir=out.parent) as file:
            yield _Spool(file, size)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{out}: cannot be written ({reason}); make room or give another --out.") from None
