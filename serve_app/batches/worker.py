"""The worker of batches: one process beside the replicas, which edits what lies in files and keeps nothing else.

One, with cores of its own, and not the replicas in their idle moments: a photograph takes a tenth of a second of a
core, and no live request is to wait for that in the replica that it came to. Its threads run only where nobody else
wants a core (SCHED_IDLE), so that where replicas have no core to spare it is the batches that wait; and where they had
to, they wait once more, as cores that share memory slow each other down (`give_way`). It goes through
all unfinished batches in turn, a slice of each: nobody waits for another's thousand. Ray Serve starts it anew where it
dies, and it goes on at the slice that it had begun.
"""

import os
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_app.batches.archive import answer_name, opened, pack, require_small, unpack, write
from serve_app.batches.desk import answers_at
from serve_app.batches.records import ENDED, RESULT, Batch, Progress, Records, part, passing
from serve_app.logs import configure, logger
from visage.config import Serving
from visage.errors import NotWritten, UserError
from visage.infra.remote_store import Store

if TYPE_CHECKING:
    import numpy as np

    from visage.editing.expression import Change
    from visage.methods.base import Editor
    from visage.registry.bundle import Bundle

POLL_SECONDS, PAUSE_SECONDS, SWEEP_SECONDS = 3.0, 15.0, 3600.0
SPARE, LONGEST_REST = 0.1, 10.0  # of a thread's time, and seconds
TRIES = 3  # of a slice at which the process dies
GROWTH = 4  # times what a batch may weigh, that its pictures may: a small file may be a very large photograph
DEADLY = "the worker ended several times at this photograph or one of its neighbours; leave out the one that does it."


class Worker:
    """As a deployment of Ray Serve: a thread that works, and whether it is still there."""

    def __init__(self, settings: dict[str, Any]) -> None:
        serving = Serving.model_validate(settings)
        configure(serving.log)
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(serving,), daemon=True)
        self._thread.start()

    async def look(self) -> None:
        """A batch has come."""
        self._wanted.set()

    async def check_health(self) -> None:
        if not self._thread.is_alive():
            raise RuntimeError("the worker of batches has ended")

    def _run(self, serving: Serving) -> None:
        stand_back()
        work, swept = Work(serving), float("-inf")
        while True:
            try:
                if time.monotonic() - swept > SWEEP_SECONDS:
                    work.sweep()
                    swept = time.monotonic()
                pause = 0.0 if work.step() else POLL_SECONDS
            except Exception as error:  # the store of batches refuses, for a while
                logger().error("Batches wait: %s", error)
                pause = PAUSE_SECONDS
            self._wanted.wait(pause)
            self._wanted.clear()


def stand_back() -> None:
    """From now on this thread, and those that it starts, run where nobody else wants the core."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError) as error:
        logger().warning("Batches take the cores as live requests do: %s", error)


def give_way(change: "Change") -> "Change":
    """`change`, before which a thread rests for as long as it took since the last one, where others kept it waiting for
    more than a share SPARE of that."""
    last = threading.local()

    def after(editor: "Editor", faces: "np.ndarray") -> "np.ndarray":
        if hasattr(last, "clock"):
            took, worked = time.monotonic() - last.clock, time.thread_time() - last.cpu
            if worked < (1 - SPARE) * took:
                time.sleep(min(took, LONGEST_REST))
        last.clock, last.cpu = time.monotonic(), time.thread_time()
        return change(editor, faces)

    return after


class Work:
    """What the worker does, without a thread or Ray around it."""

    def __init__(self, serving: Serving) -> None:
        assert serving.batches
        self._serving, self._settings = serving, serving.batches
        self._records = Records(serving.batches)
        self._bundles: dict[str, Bundle] = {}
        self._orphans = set[tuple[str, str]]()
        self._later = dict[str, float]()  # ids of batches that wait for a store, a disk or the registry

    def step(self) -> bool:
        """Edit the next slice of each batch, or close it. False where there is no batch to work on now."""
        batches = [each for each in self._records.unfinished() if self._later.get(each.id, 0) < time.monotonic()]
        for batch in batches:
            try:
                self._advance(batch)
                self._later.pop(batch.id, None)
            except Exception as error:
                if isinstance(error, UserError):
                    logger().error("Batch %s waits: %s", batch.id, error)
                else:
                    logger().exception("Batch %s waits for a fault of the server", batch.id)
                self._later[batch.id] = time.monotonic() + PAUSE_SECONDS
            if not self._records.find(batch.caller, batch.id):  # it was removed meanwhile
                self._records.remove(batch.caller, batch.id)
        return bool(batches)

    def sweep(self) -> None:
        """Remove what is kept no longer, and what was no batch at the last sweep either."""
        old, none = self._records.ended()
        for caller, id in old | (none & self._orphans):
            self._records.remove(caller, id)
        self._orphans = none
        for file in self._records.listing().left_over():
            self._records.store.delete(file)
        for left in self._records.folder.glob(".arriving-*") if self._records.folder else ():
            if left.stat().st_mtime < time.time() - SWEEP_SECONDS - self._settings.upload_seconds:
                left.unlink(missing_ok=True)  # of a replica that died

    def _advance(self, batch: Batch) -> None:
        progress = self._records.progress(batch)
        if progress.slices == batch.slices():
            self._close(batch)
            return
        names = batch.slice(progress.slices)
        most = GROWTH * self._settings.megabytes
        if progress.tries >= TRIES:
            faults = dict.fromkeys(names, DEADLY)
        elif sum(self._records.files(batch).values()) > most * 1e6:
            faults = dict.fromkeys(
                names, f"the pictures before it have more than {most:g} megabytes; send fewer at once."
            )
        else:
            bundle, progress = self._bundle(progress)
            self._records.keep(batch, replace(progress, tries=progress.tries + 1))
            try:
                faults = self._edit(batch, progress.slices, names, bundle)
            except UserError:  # no photograph's
                self._records.keep(batch, progress)
                raise
        progress = replace(progress, slices=progress.slices + 1, tries=0, faults=progress.faults | faults)
        self._records.keep(batch, progress)

    def _bundle(self, progress: Progress) -> "tuple[Bundle, Progress]":
        """The model of a batch: what answers when it begins, and then the same to its end."""
        from visage.registry.models import Registry

        name = progress.fetched or self._serving.model
        bundle = self._bundles.get(name) if progress.fetched else None
        if bundle is None:
            bundle = Registry(self._serving.tracking_uri).fetch(name)
        facts = bundle.facts
        fixed = name if facts.version is None else facts.label
        self._bundles = {fixed: bundle}
        return bundle, replace(progress, model=asdict(facts), fetched=fixed)

    def _edit(self, batch: Batch, number: int, names: Iterable[str], bundle: "Bundle") -> dict[str, str]:
        """A slice's pictures, into the store. Returns the faults by photograph."""
        from visage.editing.expression import to_expression
        from visage.editing.many import Item, edit_all
        from visage.methods.requests import EXPRESSION

        faults, items = dict[str, str](), list[Item]()
        with tempfile.TemporaryDirectory(prefix="visage-batch-") as folder, self._photographs(batch) as fetch:
            for place, name in enumerate(names):
                photo, out = Path(folder, str(place)), Path(folder, f"{place}{Path(answer_name(name)).suffix}")
                try:
                    fetch(name, photo, self._serving.limits.megabytes)
                except NotWritten:
                    raise
                except UserError as error:
                    faults[name] = str(error).removeprefix(f"{name}: ")
                else:
                    items.append(Item(name, photo, out))
            asked = batch.asked
            try:
                change = to_expression(bundle.card.expressions, asked["expression"], asked["intensity"], False)
            except UserError as error:  # of a model that took the other one's place since
                return dict.fromkeys(names, str(error))
            change = give_way(change)
            done = edit_all(
                items, bundle, EXPRESSION, change, view=asked["view"], megapixels=self._serving.limits.megapixels,
                threads=max(1, int(self._settings.num_cpus)), device="cuda" if self._settings.num_gpus else "cpu",
            )  # fmt: skip
            made = []
            for item, fault in done:
                if fault:
                    faults[item.name] = fault.removeprefix(f"{item.name}: ")
                else:
                    made.append((answer_name(item.name), item.out))
            self._keep(batch, number, sorted(made), Path(folder))
        return faults

    @contextmanager
    def _photographs(self, batch: Batch) -> Iterator[Callable[[str, Path, float], None]]:
        """What copies a photograph, by its name, to a path, if it has no more than so many megabytes. Raises UserError
        for one that does not do."""
        if batch.from_bucket:
            yield partial(_fetch, Store(f"{self._settings.bucket}/{batch.caller}"))
            return
        packed = self._records.store.open(self._records.name(batch, batch.photographs))
        with packed as file, opened(file, self._settings) as archive:
            yield partial(unpack, archive)

    def _keep(self, batch: Batch, number: int, made: "list[tuple[str, Path]]", folder: Path) -> None:
        if batch.to_bucket:
            bucket = Store(answers_at(str(self._settings.bucket), batch))
            for name, file in made:
                bucket.send(file, name)
            return
        packed = folder / "part"
        pack(packed, made)
        self._records.store.send(packed, self._records.name(batch, part(number)))

    def _close(self, batch: Batch) -> None:
        """One ZIP of all parts, and neither the parts nor the photographs any more.

        Another worker may be at it while the code is rolled: a part that is gone while there is a result is its doing.
        """
        store, name = self._records.store, self._records.name
        if batch.to_bucket:
            store.write(name(batch, ENDED), b"")
        else:
            with tempfile.NamedTemporaryFile(prefix="visage-batch-", dir=self._records.folder) as whole:
                with zipfile.ZipFile(whole.name, "w", zipfile.ZIP_STORED) as result:
                    for number in range(batch.slices()):
                        _append(store, name(batch, part(number)), result)
                if RESULT in self._records.files(batch):
                    return
                store.send(Path(whole.name), name(batch, RESULT))
        for each in filter(passing, self._records.files(batch)):
            store.delete(name(batch, each))
        progress = self._records.progress(batch)
        told = {"batch": batch.id, "caller": batch.caller, "photographs": len(batch.names)}
        logger().info("batch", extra={**told, "failed": len(progress.faults)})


def _append(store: Store, part: str, result: zipfile.ZipFile) -> None:
    try:
        file = store.open(part)
    except FileNotFoundError:  # of a slice without a picture
        return
    with file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            result.writestr(member.filename, archive.read(member))


def _fetch(bucket: Store, name: str, to: Path, megabytes: float) -> None:
    try:
        with bucket.open(name) as file:
            require_small(name, file.size(), megabytes)
            content = file.read()
    except FileNotFoundError:
        raise UserError(f"{name}: there is no such file in the bucket; see its address.") from None
    except OSError as error:
        raise NotWritten(f"the bucket broke off ({type(error).__name__}); see whether it is away.") from None
    with to.open("wb") as out:
        write(out, content)
