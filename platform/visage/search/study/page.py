"""Where a study's page is: at a port that is the same each time, so that MLflow's pages can lead to it."""

import shlex
from urllib.parse import quote

PORT = 5050  # unless the user says otherwise; k8s/components/study-page has it too


def looking(name: str, storage: str) -> str:
    """The command that shows a study in a terminal; `--web` makes a page of it."""
    from visage.config.experiment import Search

    option = "" if storage == Search().storage else f" --storage {shlex.quote(storage)}"
    return f"visage study {shlex.quote(name)}{option}"


def page_of(name: str, trial: int | None = None) -> str:
    """The address of a study's page on the machine that looks at it, as long as `visage study --web` runs there, or a
    port is forwarded to where it does. trial: the one that is chosen."""
    chosen = "" if trial is None else f"&trials={trial}"
    return f"http://127.0.0.1:{PORT}/?study={quote(name, safe='')}{chosen}"


def leading_to(name: str, look: str, trial: int | None = None) -> str:
    """A link to it, in Markdown. look: the command that shows the study in a terminal."""
    return link(page_of(name, trial), look)


def link(page: str, look: str) -> str:
    """The same by the page's address."""
    return f"[The study's page]({page}), while `{look} --web` runs."
