"""Letters about trials: in order for each, beside whoever writes them, and none twice."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from visage.errors import UserError
from visage.infra import patience
from visage.search import outbox
from visage.search.outbox import Outbox


@dataclass
class Words:
    words: list[str] = field(default_factory=list)

    def extend(self, later: "Words") -> None:
        self.words += later.words


def until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not seen():
        assert time.monotonic() < end, "was not seen in time"
        time.sleep(0.005)


@pytest.mark.parametrize("threads", [1, 4])
def test_each_trial_is_told_in_order_and_nothing_twice(threads: int) -> None:
    told: dict[int, list[str]] = {}

    def send(number: int, letter: Words) -> None:
        heard = told.setdefault(number, [])
        for word in letter.words:
            heard.append(word)
            time.sleep(0.0001)

    box = Outbox(send, threads)
    for step in range(50):
        for number in range(20):
            box.add(number, Words([f"{step}"]))
    box.close(cut_off=False)
    assert told == {number: [f"{step}" for step in range(50)] for number in range(20)}
    assert box.fault is None


def test_a_store_that_hangs_holds_nobody_who_writes() -> None:
    answer, told = threading.Event(), list[str]()

    def send(number: int, letter: Words) -> None:
        assert answer.wait(30)
        told.extend(letter.words)

    box = Outbox(send, 1)
    began = time.monotonic()
    for step in range(2_000):
        box.add(step % 100, Words([f"{step}"]))
    assert time.monotonic() - began < 5
    assert not told
    answer.set()
    box.close(cut_off=False)
    assert len(told) == 2_000


def test_a_trial_that_is_refused_is_told_later_and_holds_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    away, told = threading.Event(), list[tuple[int, str]]()
    away.set()

    def send(number: int, letter: Words) -> None:
        while letter.words:
            if number == 0 and letter.words[0] == "picture" and away.is_set():
                raise UserError("the bucket is away.")
            told.append((number, letter.words.pop(0)))

    box = Outbox(send, 1)
    box.add(0, Words(["curve", "picture"]))
    until(lambda: told == [(0, "curve")])
    box.add(0, Words(["end"]))
    box.add(1, Words(["curve", "picture", "end"]))
    until(lambda: (1, "end") in told)
    assert [word for number, word in told if number == 0] == ["curve"]
    away.clear()
    box.close(cut_off=False)
    assert [word for number, word in told if number == 0] == ["curve", "picture", "end"]


@pytest.mark.parametrize("cut_off", [True, False])
def test_patience_ends_with_the_store_s_own_words(monkeypatch: pytest.MonkeyPatch, cut_off: bool) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 60 if cut_off else 0.05)
    tried: list[int] = []

    def send(number: int, letter: Words) -> None:
        tried.append(number)
        raise UserError("MLflow is away.")

    box = Outbox(send, 1)
    box.add(0, Words(["end"]))
    box.close(cut_off=cut_off)
    assert str(box.fault) == "MLflow is away."
    box.add(0, Words(["more"]))  # heard by nobody, and waits for nobody
    assert cut_off or len(tried) > 1


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST", 10)
    answer, told = threading.Event(), list[str]()

    def send(number: int, letter: Words) -> None:
        assert answer.wait(30)
        told.extend(letter.words)

    box = Outbox(send, 1)

    def write() -> None:
        for step in range(11):
            box.add(step, Words([f"{step}"]))

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    assert box.waiting == 10
    answer.set()
    writer.join(30)
    box.close(cut_off=False)
    assert len(told) == 11


def test_a_fault_of_our_own_is_not_waited_for() -> None:
    def send(number: int, letter: Words) -> None:
        raise ValueError("a fault of ours")

    box = Outbox(send, 1)
    box.add(0, Words(["end"]))
    box.close(cut_off=False)
    assert isinstance(box.fault, ValueError)
