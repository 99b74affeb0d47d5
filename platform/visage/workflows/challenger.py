"""`visage compare`: what a running endpoint has recorded of its champion and its challenger."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from visage.errors import UserError
from visage.workflows.terminal import console

if TYPE_CHECKING:
    from visage.api.schema import Difference, ModelReference

MODES = {"shadow": "both ran each request", "share": "each answered its share"}


def compare_models(name: str, url: str) -> None:
    """Print the live difference of the self-check values. Raises UserError as the client, and for another model."""
    from visage.client import Client

    with Client(url) as client:
        found = client.comparison()
    if name not in (found.champion.name, found.challenger.name):
        raise UserError(f"{name}: is not served at {url}; {found.champion.name} is.")
    console.print(f"champion {_label(found.champion)}, challenger {_label(found.challenger)}, at {url}")
    if found.incomparable:
        console.print(f"They cannot be compared. {found.incomparable}")
        return
    modes = {mode: values for mode in MODES if (values := getattr(found, mode)) and _requests(values)}
    if not modes:
        console.print("The challenger has no requests yet; set challenger.shadow or challenger.share above 0, or wait.")
        return
    for mode, values in modes.items():
        title = f"{mode}: {MODES[mode]}; {_rests_on(mode, values)}"
        headings = ("value", "champion", "challenger", "difference [95 %]")
        columns = [Column(name, no_wrap=True) for name in headings]
        table = Table(*columns, "challenger is", box=SIMPLE_HEAD, pad_edge=False, padding=0)
        console.print(f"\n{title}")
        for value, difference in values.items():
            table.add_row(value, *_figures(difference), difference.verdict)
        console.print(table)
    if found.skipped:
        console.print(f"{found.skipped} requests were not run in shadow mode, as there was no time beside the answers.")
    console.print(f"next: visage promote {_label(found.challenger)}")


def _figures(found: "Difference") -> tuple[str, str, str]:
    ours, theirs = ("" if mean is None else f"{mean:.3f}" for mean in (found.champion, found.challenger))
    change = found.difference
    return ours, theirs, f"{change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}]" if change else ""


def _requests(values: "dict[str, Difference]") -> int:
    return max(difference.challenger_requests for difference in values.values())


def _rests_on(mode: str, values: "dict[str, Difference]") -> str:
    one = next(iter(values.values()))
    if mode == "shadow":
        return f"{one.challenger_requests} requests"
    return f"{one.champion_requests} requests by the champion, {one.challenger_requests} by the challenger"


def _label(model: "ModelReference") -> str:
    return model.name if model.version is None else f"{model.name}/{model.version}"
