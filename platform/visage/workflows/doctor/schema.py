"""What a look finds, as `visage doctor --json` writes it."""

from typing import Literal

from pydantic import BaseModel

from visage.errors import UserError

State = Literal["good", "doubtful", "broken"]
Answer = tuple[State, str, str]  # what was found and the mend, as of a Check


class Check(BaseModel):
    """place: the machine's address, or `all` for what they share. subject: what was looked at. mend: empty where the
    state is good."""

    place: str
    subject: str
    state: State
    found: str
    mend: str = ""

    @classmethod
    def of(cls, place: str, subject: str, answer: Answer) -> "Check":
        state, found, mend = answer
        return cls(place=place, subject=subject, state=state, found=found, mend=mend)

    @classmethod
    def refused(cls, place: str, subject: str, fault: UserError) -> "Check":
        """Broken, with the fault's sentence: what it says after the last semicolon is the mend."""
        told, _, mend = str(fault).rstrip(".").rpartition("; ")
        return cls.of(place, subject, ("broken", told, mend))


class Examination(BaseModel):
    """checks: by machine. estimate: what the command would take, in words; empty where nothing tells."""

    checks: list[Check]
    estimate: str = ""

    def first(self) -> Check | None:
        """The first thing that would fail."""
        return next((check for check in self.checks if check.state == "broken"), None)
