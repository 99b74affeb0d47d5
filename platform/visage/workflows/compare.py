"""`visage compare`: two versions held against one another, by the judges and by people's eyes; or what a running
endpoint has recorded of its champion and its challenger."""

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from visage.errors import UserError
from visage.workflows.terminal import console

if TYPE_CHECKING:
    from visage.api.schema import Difference, ModelReference
    from visage.registry.bundle import Bundle, ModelFacts
    from visage.registry.models import Registry

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


def compare_versions(one: str, other: str, store: str, *, eyes: bool, port: int) -> None:
    """Print the figures of two models on the same test people, their differences, and what people chose.

    one, other: as `Registry.fetch`. eyes: serve the page that shows their faces blind first, until Ctrl-C. Raises
    UserError for models that are not there, and with `eyes` for those that cannot be shown side by side.
    """
    from visage.registry.eyes import between_versions, note
    from visage.registry.models import Registry
    from visage.registry.store import in_store

    registry = Registry(store)
    bundles = registry.fetch(one), registry.fetch(other)
    facts = bundles[0].facts, bundles[1].facts
    if eyes:
        _choose(registry, *facts, port)
    share = between_versions(registry.client, registry.uri, *facts) if all(each.version for each in facts) else None
    if eyes and share:
        note(registry.client, registry.uri, *bundles, share)
    _print_figures(*bundles, one, other)
    console.print(share.told(one, other) if share else "eyes: nobody chose between them yet.")
    following = f"promote {one}" if share or eyes else f"compare {one} {other} --eyes"
    console.print(f"next: visage {following}{in_store(store)}")


def _choose(registry: "Registry", one: "ModelFacts", other: "ModelFacts", port: int) -> None:
    from visage.registry.card import FACES
    from visage.registry.reading import Reader
    from visage.search.watch.pairs import VersionPairs
    from visage.search.watch.server import serve_eyes

    models = {facts.label: facts.run_id for facts in (one, other) if facts.version}
    if len(models) < 2:
        raise UserError(
            "--eyes: needs two versions of a registry, as choices are kept in their runs; write name/version twice."
        )
    sitting = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    pairs = VersionPairs(Reader(registry.uri), models, FACES, sitting)
    pairs.next()  # refuses what cannot be shown before a page is opened
    serve_eyes(pairs, "two versions", port, console.print)
    kept = pairs.count()
    console.print(f"\n{kept} {'choice' if kept == 1 else 'choices'} of this sitting kept.")


def _print_figures(here: "Bundle", there: "Bundle", one: str, other: str) -> None:
    from visage.registry.gate import judge_promotion

    table = Table(*(Column(name, no_wrap=True) for name in ("on the test people", one, other)), box=SIMPLE_HEAD)
    for metric, figure in here.card.metrics.items():
        if beside := there.card.metrics.get(metric):
            cells = (f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in (figure, beside))
            table.add_row(metric, *cells)
    console.print(table)
    if not here.card.data.judged_as(there.card.data):
        console.print("They were judged on other faces or by other judges, so that these figures say nothing.")
        return
    verdict = judge_promotion(here.results()["model"], there.results()["model"], opponent_name=other)
    for name, difference in verdict.intervals.items():
        figures = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
        console.print(f"{name} of {one} less that of {other}, over the same people: {figures}")
    if not verdict.intervals:
        console.print("; ".join(verdict.reasons))
