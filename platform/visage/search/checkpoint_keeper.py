"""Removes checkpoints while Tune runs a study, and says in time that the disk is too small for those that it keeps."""

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune import Callback

from visage.config.experiment import Search
from visage.errors import NotWritten, UserError
from visage.infra.remote_store import is_address
from visage.search.optuna_recorder import OfTheDriver, OptunaRecorder, guarded
from visage.search.study.endings import State
from visage.search.study.kept import kept_of, places_of, remove, why_removed
from visage.search.study.records import counted
from visage.training.checkpoint import FILE
from visage.training.discard import discard


class CheckpointKeeper(OfTheDriver, Callback):
    """Stands behind what records endings. A thread of its own removes files, so that no trial waits for a bucket.

    at_once: trials side by side. A checkpoint goes when as many more are to go: its trial may write once more before it
    hears that it was stopped. free: bytes that the disk of a path has left.
    """

    def __init__(
        self, recorder: OptunaRecorder, search: Search, at_once: int, free: Callable[[Path], int] | None = None
    ) -> None:
        self.recorder, self.search, self.at_once = recorder, search, at_once
        self.left = search.trials - len(counted(recorder.study))  # trials without an ending
        self.free = free or (lambda path: shutil.disk_usage(path).free)
        self.kept = kept_of(recorder.study, search.keep_checkpoints)
        ended = places_of(recorder.study)
        self.places = {number: ended[number] for number in self.kept.numbers if number in ended}
        self.running: set[int] = set()  # of these there is a checkpoint
        self.waiting = deque[int]()  # to be removed
        self.pool = ThreadPoolExecutor(1)

    @guarded
    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: Mapping[str, Any], **info: Any
    ) -> None:
        place = result.get("checkpoint_path", "")
        if place and not is_address(place):
            self.running.add(trial.config["number"])
            self._require_room(Path(place))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        number, result = trial.config["number"], trial.last_result
        self.running.discard(number)
        ending = self.recorder.endings.get(number)
        if ending is None:  # it goes on from there
            return
        self.left -= 1
        if "checkpoint_path" not in result:
            return
        self.places[number] = result["checkpoint_path"]
        self.waiting.extend(self.kept.add(number, result) if ending.state is State.COMPLETE else [number])
        while len(self.waiting) > self.at_once:
            self.pool.submit(self._remove, self.places.pop(self.waiting.popleft()))

    on_trial_error = on_trial_complete

    def close(self) -> None:
        """Leave what is not removed yet to `remove_rest`, of this part of the study or a later one."""
        self.pool.shutdown(wait=True, cancel_futures=True)

    def remove_rest(self) -> None:
        """Remove what all parts of the study have left. Raises NotWritten when disk or bucket refuse."""
        study = self.recorder.study
        kept = set(self.kept.numbers)
        places = self.recorder.ask(lambda: places_of(study))
        remove([place for number, place in places.items() if number not in kept], study.study_name)

    def _remove(self, place: str) -> None:
        with suppress(NotWritten):  # at the end once more
            discard(place, why_removed(place, self.recorder.study.study_name))

    def _require_room(self, checkpoint: Path) -> None:
        """Raises UserError when the disk holds less than the checkpoints that are still to come.

        At most there are those that are kept, that wait to be removed, and two of each trial at work, as the new one is
        written before the old one goes.
        """
        try:
            size = (checkpoint / FILE).stat().st_size
        except FileNotFoundError:
            return
        at_work = min(self.at_once, self.left)
        most = self.search.keep_checkpoints + self.at_once + 2 * at_work
        there = len(self.kept.numbers) + len(self.waiting) + len(self.running)
        more = max(at_work, min(most - there, self.left - len(self.running) + at_work))
        free = self.free(checkpoint)
        if free < more * size:
            folder = checkpoint.parent.parent
            raise UserError(
                f"search.keep_checkpoints = {self.search.keep_checkpoints}: up to {more} more checkpoints of "
                f"{size / 1e9:.3g} GB are to come, and {folder} has {free / 1e9:.3g} GB left; keep fewer, run fewer "
                "trials at once (search.concurrency), or make room (`visage study NAME --prune` does, of an old one)."
            )
