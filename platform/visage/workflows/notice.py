"""`search.notify`: who hears of a study's end, however it ends."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import expandvars
from typing import TYPE_CHECKING, Any

from visage.config.experiment import Search
from visage.config.read import without_passwords
from visage.errors import one_line
from visage.workflows.terminal import console

if TYPE_CHECKING:
    from visage.registry.models import Promotion
    from visage.search.study.summary import Summary

TRIES, PAUSE_SECONDS = 4, 2.0
ANSWER_SECONDS, COMMAND_SECONDS = 10, 60
NAMED = re.compile(r"\$(?:\w+|\{\w+\})")


class Notice:
    """What is told: JSON with `text`, a sentence, which chats show, and what it is of."""

    def __init__(self, study: str) -> None:
        self.content: dict[str, Any] = {"study": study}

    def reached(self, result: "Summary") -> None:
        best = result.best
        self.content |= {"complete": result.complete, "pruned": result.pruned, "failed": result.failed}
        self.content |= {"stopped": result.stopped}
        if best:
            self.content |= {"best_trial": best.number, "setting": dict(best.params)}

    def judged(self, promotion: "Promotion") -> None:
        facts = promotion.facts
        self.content |= {"model": facts.label, "alias": promotion.alias}
        self.content |= {"decision": promotion.verdict.decision}


@contextmanager
def told_at_the_end(search: Search) -> Iterator[Notice]:
    """Tell `search.notify` what the block has put into its notice, or the fault that ended it.

    A driver that is killed tells nothing; one that does not get its notice told says so, and ends as it would.
    """
    notice = Notice(search.name)
    try:
        yield notice
    except BaseException as fault:  # Ctrl-C and a SIGTERM, too
        cut = isinstance(fault, KeyboardInterrupt)
        text = f"study {search.name} {'was cut off' if cut else f'failed: {one_line(fault)}'}"
        tell(search.notify, {"text": text, "ended": "cut off" if cut else "failed", **notice.content})
        raise
    told = " and ".join(f"{name} {notice.content[name]}" for name in ("model", "decision") if name in notice.content)
    text = f"study {search.name} has ended{f': {told}' if told else ''}"
    tell(search.notify, {"text": text, "ended": "complete", **notice.content})


def tell(whom: str | None, content: dict[str, Any]) -> None:
    """Send JSON to an address, or to a command's input; tried again when it fails."""
    from tenacity import Retrying, stop_after_attempt, wait_exponential

    if whom is None:
        return
    body = without_passwords(json.dumps(content, ensure_ascii=False))
    patient = Retrying(stop=stop_after_attempt(TRIES), wait=wait_exponential(PAUSE_SECONDS), reraise=True)
    try:
        patient(_post if whom.startswith(("http://", "https://")) else _run, whom, body)
    except Exception as error:  # of a network or a program, any
        reason = one_line(error)
        for name in NAMED.findall(whom):  # whose values may be secrets
            if value := expandvars(name):
                reason = reason.replace(value, name)
        console.print(f"search.notify = {whom}: was not told that the study has ended ({reason}).")


def _post(address: str, body: str) -> None:
    import httpx

    headers = {"Content-Type": "application/json"}
    answer = httpx.post(expandvars(address), content=body.encode(), headers=headers, timeout=ANSWER_SECONDS)
    if answer.status_code >= 300:
        raise ValueError(f"it answers {answer.status_code}")


def _run(command: str, body: str) -> None:
    words = [expandvars(word) for word in shlex.split(command)]
    done = subprocess.run(words, input=body, text=True, capture_output=True, timeout=COMMAND_SECONDS)
    if done.returncode:
        raise ValueError(f"it ends with {done.returncode}: {done.stderr.strip()[-200:]}")
