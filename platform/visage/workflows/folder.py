"""A folder of photographs edited as a whole: by a model in this process, or by an endpoint.

What was made is noted in the folder of the pictures, in edits.jsonl: what was asked, and a line for each photograph.
So the same command goes on where an earlier one was cut off, and tries again what failed.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from visage.editing.many import Item
from visage.errors import NotWritten, UserError
from visage.infra.files import locked, write_whole
from visage.workflows.terminal import bar, console, going_on_with, typed

if TYPE_CHECKING:
    from visage.client import AsyncClient

NOTES, LOCK = "edits.jsonl", ".edits.lock"
SHOWN = 20  # faults in the table; all are in the notes
# By an endpoint: requests in flight, as a replica batches what waits, and how long each may wait for a busy one.
IN_FLIGHT, PATIENCE_SECONDS = 8, 300.0
# What an endpoint says of one photograph; anything else it would say of the next one, too.
OF_ONE = (400, 408, 413, 422)
Tell = Callable[[Item, str], None]  # of an item that is done: its fault, empty where its picture is written


def edit_folder(
    source: Path, out: Path, asked: Mapping[str, Any], make: Callable[[Sequence[Item], Tell], None], *,
    ending: str | None = None,
) -> None:  # fmt: skip
    """Edit the photographs of a folder and of those in it into `out`, each once; say how many were there already.

    asked: what decides a picture, as JSON. make: writes the items' pictures, and tells of each. ending: of the
    pictures; None keeps the photographs'. Raises UserError before the first picture for an `out` that cannot be used,
    and after the last one where some failed.
    """
    items = _items(source, out, ending)
    with _alone(out), going_on_with(typed):
        notes = _Notes(out, asked)
        left = [item for item in items if not notes.hold(item)]
        _require_ours(left)
        taken, faults = len(items) - len(left), dict[str, str]()
        with bar("editing") as update:

            def tell(item: Item, fault: str) -> None:
                notes.add(item, fault)
                if fault:
                    faults[item.name] = fault
                failed = f", {len(faults)} failed" if faults else ""
                done = len(items) - len(left) + notes.added
                update(f"{done} of {len(items)} photographs{failed}", done, len(items))

            with notes.open():
                make(left, tell)
    if taken:
        console.print(f"{out}: {taken} of {len(items)} pictures were there and are taken over.")
    console.print(f"{out}: {len(left) - len(faults)} pictures written; its {NOTES} has a line for each photograph.")
    if faults:
        table = Table("photograph", "fault", box=SIMPLE_HEAD, pad_edge=False)
        for name in sorted(faults)[:SHOWN]:
            table.add_row(name, faults[name].removeprefix(f"{name}: "))
        console.print(table)
        raise UserError(
            f"{len(faults)} of {len(items)} photographs failed; {out / NOTES} has each one's fault, and the same "
            "command tries them again."
        )
    console.print(f"next: visage inspect {items[0].out}")


def by_endpoint(
    url: str, ask: Callable[["AsyncClient", Item], Awaitable[None]]
) -> Callable[[Sequence[Item], Tell], None]:
    """`make` of `edit_folder`: several photographs at a time, by `ask`, which writes an item's picture. What an
    endpoint says of one photograph is that item's fault; any other fault is raised."""
    from visage.client import AsyncClient, ClientError

    async def answer(items: Iterator[Item], tell: Tell) -> None:
        async def work() -> None:
            for item in items:  # of all workers, each the next one
                try:
                    await ask(client, item)
                except ClientError as error:
                    if error.status not in OF_ONE:
                        raise
                    tell(item, str(error))
                else:
                    tell(item, "")

        async with AsyncClient(url, patience=PATIENCE_SECONDS) as client, asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT):
                group.create_task(work())

    def make(items: Sequence[Item], tell: Tell) -> None:
        try:
            asyncio.run(answer(iter(items), tell))
        except* UserError as faults:
            raise faults.exceptions[0] from None

    return make


def _items(source: Path, out: Path, ending: str | None) -> list[Item]:
    """The photographs of a folder and what is to become of them. Raises UserError where that would not do."""
    from visage.faces.layouts.rows import all_pictures
    from visage.faces.picture import ENDINGS

    inside, outside = source.resolve(), out.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        what = "is the folder of the photographs" if inside == outside else f"and {source} hold one another"
        raise UserError(f"--out {out}: {what}; give a folder of its own, as no photograph is to be overwritten.")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; {source} is a folder, so give a folder for its pictures.")
    if not out.exists() and out.suffix.lower() in ENDINGS:
        raise UserError(f"--out {out}: names a picture; {source} is a folder, so give a folder for its pictures.")
    try:
        photos = all_pictures(source)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); mend its permissions.") from None
    if not photos:
        raise UserError(f"{source}: holds no photograph; give a folder with JPEG, PNG, WebP, TIFF or BMP files.")
    items, whose = [], dict[Path, str]()
    for photo in photos:
        path = photo.relative_to(source)
        name = path.as_posix()
        kind = ending or (path.suffix if path.suffix.lower() in ENDINGS else ".png")
        item = Item(name, photo, out / path.with_suffix(kind))
        if other := whose.get(item.out):
            raise UserError(f"{name}: and {other} would both be written to {item.out}; rename one of them.")
        whose[item.out] = name
        items.append(item)
    return items


def _require_ours(items: Sequence[Item]) -> None:
    """Raise UserError where a picture would take the place of a file that Visage did not make."""
    from visage.faces.provenance import read_provenance

    for item in items:
        if not item.out.exists():
            continue
        try:
            ours = read_provenance(item.out) is not None  # cut off between a picture and its note
        except UserError:
            ours = False
        if not ours:
            raise UserError(f"{item.out}: is there and was not made by Visage; give another folder as --out.")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The only command that writes into this folder."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK, wait=False):
            for part in out.rglob(".*.partial"):  # of a command that was killed
                part.unlink()
            yield
    except BlockingIOError:
        raise UserError(f"--out {out}: another command is writing there; wait for it, or give another.") from None
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror}); give another folder.") from None


class _Notes:
    """edits.jsonl: a line with what was asked, then one for each photograph, in the order in which they were done."""

    def __init__(self, out: Path, asked: Mapping[str, Any]) -> None:
        self._path, self._asked, self.added = out / NOTES, dict(asked), 0
        self._lines = dict[str, dict[str, Any]]()
        for line in self._read():
            before, now = line.get("asked", self._asked), self._asked
            if other := next((key for key in {**before, **now} if before.get(key) != now.get(key)), ""):
                raise UserError(
                    f"--out {out}: holds pictures with {other} = {before.get(other)}, and {now.get(other)} is asked "
                    "for now; give another folder."
                )
            if "photograph" in line:
                self._lines[line["photograph"]] = line

    def hold(self, item: Item) -> bool:
        """Whether the item's picture is there, made of the photograph as it is now."""
        line = self._lines.get(item.name, {})
        return line.get("fault") == "" and line.get("stamp") == _stamp(item.photo) and item.out.is_file()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Written anew first, as the last line of a command that was killed may be torn."""
        lines = [{"asked": self._asked}, *self._lines.values()]
        write_whole(self._path, "".join(f"{json.dumps(line)}\n" for line in lines).encode())
        with self._path.open("a") as self._file:
            yield

    def add(self, item: Item, fault: str) -> None:
        line = {"photograph": item.name, "stamp": _stamp(item.photo), "picture": item.out.name, "fault": fault}
        try:
            self._file.write(f"{json.dumps(line)}\n")
            self._file.flush()
        except OSError as error:
            raise NotWritten(f"{self._path}: cannot be written ({error.strerror}); make room.") from None
        self.added += 1

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found


def _stamp(photo: Path) -> list[int]:
    """What changes when a photograph does: its bytes and its time."""
    try:
        state = photo.stat()
    except OSError:
        return []
    return [state.st_size, state.st_mtime_ns]
