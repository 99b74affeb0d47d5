"""What the commands of models print: what one reached, the versions, and what the gate says of one."""

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from visage.workflows.terminal import console, serving

if TYPE_CHECKING:
    from visage.registry.models import Promotion
    from visage.workflows.publish import Published


def list_models(registry: str) -> None:
    from visage.registry.models import CHAMPION, Registry
    from visage.registry.store import in_store

    versions = Registry(registry).list()
    if not versions:
        console.print("no model is registered yet; train one with `visage train` or `visage tune`.")
        return
    metrics = ("score", "identity", "expression")
    headings = (Column("model", no_wrap=True), "aliases", *metrics, "gate", "created")
    table = Table(*headings, box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for line in versions:
        figures = [f"{line.metrics[name]:.3f}" if name in line.metrics else "" for name in metrics]
        words = (f"{line.name}/{line.version}", ", ".join(line.aliases))
        table.add_row(*words, *figures, line.verdict, f"{line.created:%Y-%m-%d}")
    console.print(table)
    first = versions[0]
    champion = any(CHAMPION in line.aliases for line in versions)
    promote = f"visage promote {first.name}/{first.version}{in_store(registry)}"
    console.print(f"next: {serving(registry) if champion else promote}")


def print_promotion(promotion: "Promotion", registry: str) -> None:
    from visage.registry.store import in_store

    verdict = promotion.verdict
    console.print(f"gate: {verdict.decision}{' (forced)' if promotion.forced else ''}")
    for reason in verdict.reasons:
        console.print(f"  {reason}")
    if promotion.alias:
        console.print(f"{promotion.facts.label} is now {promotion.alias}")
    force = f"visage promote {promotion.facts.label} --force{in_store(registry)} moves it anyway"
    console.print(f"next: {serving(registry) if promotion.alias == 'champion' else force}")


def print_published(published: "Published") -> None:
    from visage.judging.networks.natural import CAUGHT
    from visage.judging.table import table

    console.print(table(published.evaluation))
    if not published.natural.tells:
        caught = f"{published.natural.caught:.0%} of damaged ones, less than {CAUGHT:.0%}"
        console.print(
            f"caution: the check of mouths tells {caught}, and was left out of the bundle; "
            "more judge.images, or more people, make a better one."
        )
    console.print(f"registered as {published.model}; its bundle is {published.bundle}")
