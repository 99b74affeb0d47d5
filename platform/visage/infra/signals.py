"""Ctrl-C that waits for the end of what must not be left half done, and SIGTERM that does what Ctrl-C does."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of the block, and then goes to whoever handled it before; a second one does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never come here
        return
    seen = 0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            raise KeyboardInterrupt
        seen = number

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        signal.raise_signal(seen)


def end_by_sigterm_too() -> None:
    """From now on SIGTERM, which Kubernetes and job systems send before they kill, goes to whoever handles Ctrl-C."""
    signal.signal(signal.SIGTERM, _as_interrupt)


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # a shell's `&` has Ctrl-C ignored
        raise KeyboardInterrupt
    handler(number, frame)


@contextmanager
def sigterm_kept() -> Iterator[None]:
    """The process's own handler of SIGTERM is there again after the block. Without one, the block's stays."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
