"""Stores that are away for a while: a server that is started again, a disk that is mounted again."""

import time
from collections.abc import Callable
from typing import TypeVar

from visage.errors import Overtaken, UserError

PATIENCE_SECONDS = 180.0  # as a server may start anew
PAUSE_SECONDS = 1.0
Answer = TypeVar("Answer")


def patiently(call: Callable[[], Answer], wait: Callable[[float], object] = time.sleep) -> Answer:
    """What the call returns, called again while the store refuses.

    wait: for so many seconds; what it gives ends patience if it is true, as an event's `wait` does. Raises the call's
    last UserError when patience ends, and Overtaken at once.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except Overtaken:
            raise
        except UserError:
            if time.monotonic() > until or wait(PAUSE_SECONDS):
                raise
