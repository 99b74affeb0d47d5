"""What a look finds, as `visage doctor --json` writes it."""

from typing import Literal

from pydantic import BaseModel

State = Literal["good", "doubtful", "broken"]


class Check(BaseModel):
    """place: the machine's address, or `all` for what they share. subject: what was looked at. mend: empty where the
    state is good."""

    place: str
    subject: str
    state: State
    found: str
    mend: str = ""


class Examination(BaseModel):
    """checks: by machine. estimate: what the command would take, in words; empty where nothing tells."""

    checks: list[Check]
    estimate: str = ""

    def first(self) -> Check | None:
        """The first thing that would fail."""
        return next((check for check in self.checks if check.state == "broken"), None)
