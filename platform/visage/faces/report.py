"""What a preparation found, for people: its closing report."""

from rich.console import Console
from rich.table import Table

from visage.faces.action_units import SOURCES
from visage.faces.checks import cautions
from visage.faces.faceset import FaceSet
from visage.faces.split import PARTS

LEFT_OUT_SHOWN = 20


def print_report(faces: FaceSet, console: Console) -> None:
    """Print people, pictures of each expression in each part, and what was left out with the reason. console: without
    markup, as names may hold [brackets]."""
    left_out, pictures = faces.facts["left_out"], len(faces.identity)
    not_chosen = faces.facts["not_chosen"]
    place, count = faces.address or faces.dir, len(set(faces.identity))
    console.print(f"{place}: {pictures} faces of {count} people, {faces.size} px, layout {faces.layout}")
    table = Table("pictures", *PARTS, "all")
    for number, expression in enumerate(faces.expressions):
        shown = [int((faces.expression[faces.part(part)] == number).sum()) for part in PARTS]
        table.add_row(expression, *map(str, shown), str(sum(shown)))
    table.add_section()
    people = [len(set(faces.identity[faces.part(part)])) for part in PARTS]
    table.add_row("people", *map(str, people), str(sum(people)))
    console.print(table)
    if faces.shards:
        inside = faces.facts["shards"]
        console.print(
            f"for training: {inside['pictures']} faces of {inside['people']} people in {len(faces.shards)} shards; of "
            "the training people the table has the sample that is packed too"
        )
    if faces.facts["split"] == "published":
        console.print("the test people are those of the data set's published protocol (set.json: split)")
    if (source := faces.facts["action_units"]) in SOURCES:
        console.print(f"action units: {SOURCES[source]}")
    if not_chosen:
        kinds = ", ".join(f"{reason} {count}" for reason, count in sorted(not_chosen.items()))
        console.print(f"{sum(not_chosen.values())} pictures not chosen: {kinds}")
    if left_out:
        console.print(f"{len(left_out)} of {len(left_out) + pictures} pictures left out:")
        for entry in left_out[:LEFT_OUT_SHOWN]:
            console.print(f"  {entry['path']}: {entry['reason']}")
        if len(left_out) > LEFT_OUT_SHOWN:
            console.print(f"  and {len(left_out) - LEFT_OUT_SHOWN} more, listed in {faces.dir / 'set.json'}")
    notes = cautions(faces)
    for note in notes[:LEFT_OUT_SHOWN]:
        console.print(f"note: {note}")
    if len(notes) > LEFT_OUT_SHOWN:
        console.print(f"and {len(notes) - LEFT_OUT_SHOWN} more notes of this kind")
    console.print(f"contact sheet: {faces.dir / 'contact.png'}")
