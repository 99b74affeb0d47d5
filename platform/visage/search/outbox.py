"""What is still to be told about trials: in order for each, by threads of its own, so that nobody waits for a store.

A store that does not answer holds back the trial that it was told of, which is tried again; the others go on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from visage.errors import UserError
from visage.infra import patience


class Extensible(Protocol):
    def extend(self, later: Self, /) -> None: ...


Letter = TypeVar("Letter", bound=Extensible)
MOST = 50_000  # letters that wait, also where they became one; whoever adds one more waits too
LAST_SECONDS = 30.0  # for what is left when a study was cut off; its next part tells the rest


@dataclass
class Queue(Generic[Letter]):
    """A trial's letters, and of how many each is made. due: when the first may be sent, by the clock of `monotonic`.
    until: when patience with a store that refused it ends; None while none did."""

    letters: deque[Letter] = field(default_factory=deque)
    added: deque[int] = field(default_factory=deque)
    sending: bool = False
    due: float = 0.0
    until: float | None = None


class Outbox(Generic[Letter]):
    """Letters about trials, by number. `send`, called by the threads, takes out of a letter what is told, so that it
    can be called again after a UserError. What is added meanwhile becomes one letter, by its `extend`.

    fault: what the store said when patience with it ended. Nothing is sent any more then.
    """

    fault: Exception | None = None

    def __init__(self, send: Callable[[int, Letter], None], threads: int) -> None:
        self.send = send
        self.queues: dict[int, Queue[Letter]] = {}
        self.waiting = 0
        self.patient, self.ended = True, False
        self.change = threading.Condition()
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def add(self, number: int, letter: Letter) -> None:
        """Take a letter about a trial. Waits where too many wait."""
        with self.change:
            self.change.wait_for(lambda: self.waiting < MOST or self.ended)
            if self.ended:
                return
            queue = self.queues.setdefault(number, Queue())
            if len(queue.letters) > int(queue.sending):
                queue.letters[-1].extend(letter)
                queue.added[-1] += 1
            else:
                queue.letters.append(letter)
                queue.added.append(1)
            self.waiting += 1
            self.change.notify_all()

    def close(self, *, cut_off: bool) -> None:
        """Send what is left, and end the threads. cut_off: for half a minute, and nothing that was refused again."""
        with self.change:
            self.patient = not cut_off
            self.change.notify_all()
            self.change.wait_for(lambda: self.ended or not self.queues, LAST_SECONDS if cut_off else None)
        self.stop()

    def stop(self) -> None:
        """Send nothing more."""
        with self.change:
            self.ended = True
            self.change.notify_all()
        for thread in self.threads:
            thread.join(1)

    def _work(self) -> None:
        while taken := self._next():
            number, queue = taken
            refusal = None
            try:
                self.send(number, queue.letters[0])
            except Exception as error:
                refusal = error
            with self.change:
                queue.sending = False
                if refusal:
                    self._refused(queue, refusal)
                else:
                    self._sent(number, queue)
                self.change.notify_all()

    def _next(self) -> tuple[int, Queue[Letter]] | None:
        """A trial whose letter is due, waited for; None at the end."""
        with self.change:
            while not self.ended:
                now = time.monotonic()
                first = now + 60
                for number, queue in self.queues.items():
                    if queue.sending:
                        continue
                    if queue.due <= now or not self.patient:
                        queue.sending = True
                        return number, queue
                    first = min(first, queue.due)
                self.change.wait(first - now)
        return None

    def _sent(self, number: int, queue: Queue[Letter]) -> None:
        queue.letters.popleft()
        self.waiting -= queue.added.popleft()
        queue.due, queue.until = 0.0, None
        del self.queues[number]
        if queue.letters:
            self.queues[number] = queue  # behind the others

    def _refused(self, queue: Queue[Letter], refusal: Exception) -> None:
        now = time.monotonic()
        queue.due = now + patience.PAUSE_SECONDS
        queue.until = queue.until or now + patience.PATIENCE_SECONDS
        if now > queue.until or not self.patient or not isinstance(refusal, UserError):
            self.fault = self.fault or refusal
            self.ended = True
