"""The folder of a run: its lock, checkpoint and journal, and the copy of it in a bucket.

A bucket that is away stops no work: what a copy lacks goes there with the next one, and only the last is waited for.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from visage.config.experiment import Train
from visage.errors import NotWritten, UserError
from visage.infra.files import locked, write_whole
from visage.infra.patience import patiently
from visage.infra.remote_store import Store
from visage.training.checkpoint import FILE, evaluation_in, load
from visage.training.progress import Progress

CHECKPOINT, JOURNAL, RAY = "checkpoint", "history.jsonl", "ray"
NOT_KEPT = (RAY, "bundle")  # Ray Train puts its folder into the storage itself; a bundle is made anew


class RunFolder:
    """path: the folder, which need not be there yet. remote: where its files are copied to; None for nowhere.

    `behind`: whether the last copy did not get through as a whole. Methods raise NotWritten when disk or bucket refuse.
    """

    def __init__(self, path: Path, remote: Store | None = None) -> None:
        self.path, self.remote, self.behind = path, remote, False
        self.checkpoint, self.journal = path / CHECKPOINT, path / JOURNAL

    @classmethod
    def of(cls, path: Path, train: Train, name: str = "") -> "RunFolder":
        """A folder with a copy where `train.storage` says, if it does.

        name: the copy's there; by default the folder's path from the one that the command runs in.
        """
        name = name or os.path.relpath(path).replace("../", "").strip("/")
        return cls(path, Store(train.storage) / name if train.storage else None)

    def resumable(self) -> bool:
        """Whether it holds a checkpoint."""
        return (self.checkpoint / FILE).is_file()

    @contextmanager
    def lock(self, *, resume: bool | None) -> Iterator[bool]:
        """Make the folder, keep other processes of this machine out of it while the block lasts, and `sync` it first.

        resume: None goes on where there is a checkpoint, and begins where there is none. Yields whether the run goes
        on. Raises UserError when there is a checkpoint and `resume` is false, or the other way round, and when another
        process has the folder.
        """
        if resume is False or not self.remote:  # before anything there is replaced
            self._require(resume)
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.path / ".lock", wait=False))
            except BlockingIOError:
                fault = "another process trains in it; wait for that, or choose another --out."
                raise UserError(f"{self.path}: {fault}") from None
            except OSError as error:
                fault = f"cannot be made or written ({error.strerror}); choose another --out."
                raise UserError(f"{self.path}: {fault}") from None
            self.sync()
            self._require(resume)
            yield self.resumable()

    def _require(self, resume: bool | None) -> None:
        if self.resumable() and resume is False:
            fault = "holds a run already; add --resume to go on with it, or choose another --out."
            raise UserError(f"{self.path}: {fault}")
        if resume and not self.resumable():
            raise UserError(f"{self.path}: holds no checkpoint to go on from; start the run without --resume.")

    def sync(self) -> None:
        """Download the copy over the folder, or upload the folder where its checkpoint is beyond the copy's."""
        if not self.remote:
            return
        copied = -1
        if self.resumable():
            with tempfile.TemporaryDirectory(dir=self.path, prefix=".copy-") as folder:
                (self.remote / CHECKPOINT).get(Path(folder))
                copied = _images(Path(folder))
        if _images(self.checkpoint) > copied:
            self.upload()
        else:
            self.remote.get(self.path, skip=NOT_KEPT)

    def upload(self, *, last: str = "") -> None:
        """Copy what is new to the bucket. last: the file that goes after all others."""
        if self.remote:
            self.behind = True
            # The checkpoint after the journal, which is cut to it: a copy that is cut off between them lacks no point.
            self.remote.push(self.path, skip=NOT_KEPT, last=(CHECKPOINT, last))
            self.behind = False

    def release(self) -> None:
        """Free this machine's disk of the checkpoint, where the copy holds the same."""
        file = self.checkpoint / FILE
        if self.remote and self.remote.holds(file):
            file.unlink()

    def reset(self) -> None:
        """Delete all that the folder and its copy hold."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self.remote:
            self.remote.drop()
        self.path.mkdir(parents=True)

    def rewind(self, *, resume: bool) -> Path | None:
        """Bring the journal level with the checkpoint, and return that; None for a run that begins.

        Points beyond it are deleted, as the run makes them again. An evaluation that it holds and the journal does not
        is added: the run was killed between the two.
        """
        state = load(self.checkpoint) if resume else None
        if self.journal.exists():
            images = state["images"] if state else 0
            left = [point.to_json() + "\n" for point in self.points() if point.images <= images]
            write_whole(self.journal, "".join(left).encode())
        missed = evaluation_in(state) if state else None
        if missed and missed.images not in {point.images for point in self.evaluations()}:
            self.append(missed)
        return self.checkpoint if state else None

    def points(self) -> list[Progress]:
        """The journal, without lines that were cut off."""
        return _points(self.journal.read_bytes()) if self.journal.exists() else []

    def points_kept(self) -> list[Progress]:
        """The journal as other machines find it: in the copy, where there is one."""
        return _points(self.remote.read(JOURNAL) or b"") if self.remote else self.points()

    def evaluations(self) -> list[Progress]:
        """The journal's evaluations, with their files as they are here: they may come from another machine."""
        return [
            replace(
                point, checkpoint=self.checkpoint, faces=self.path / "faces" / point.faces.name if point.faces else None
            )
            for point in self.points()
            if point.metrics is not None
        ]

    def append(self, point: Progress) -> None:
        """Add a point to the journal."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with self.journal.open("a") as journal:
                journal.write(point.to_json() + "\n")
        except OSError as error:
            raise NotWritten(f"{self.journal}: cannot be written ({error.strerror}); make room.") from None

    def upload_after(self, point: Progress, *, last: bool) -> Progress:
        """Upload what an evaluation left; the point, with a warning when the bucket is away.

        last: the run is at its end, so the bucket is waited for; NotWritten when it stays away.
        """
        if point.metrics is None:
            return point
        try:
            if last:
                patiently(self.upload)
            else:
                self.upload()
        except NotWritten as away:
            fault = str(away).rstrip(".")
            if last:
                raise NotWritten(f"{fault}; the last checkpoint is in {self.path} alone.") from None
            warned = f"{fault}; the training goes on without that copy."
            return replace(point, warning=f"{point.warning} {warned}" if point.warning else warned)
        return point

    def place(self, name: str) -> str:
        """Where other processes find a file or folder of it: in the copy where there is one."""
        return f"{self.remote.address}/{name}" if self.remote else str(self.path.absolute() / name)


def _points(journal: bytes) -> list[Progress]:
    found = list[Progress]()
    for line in journal.decode(errors="replace").splitlines():
        with suppress(ValueError, TypeError, KeyError):
            found.append(Progress.from_json(line))
    return found


def _images(checkpoint: Path) -> int:
    """Images of a checkpoint; -1 where there is none that is whole."""
    try:
        return int(load(checkpoint)["images"])
    except UserError:
        return -1
