"""What the console prints, whatever people name things."""

from rich.table import Table

from visage.workflows.terminal import console


def test_names_with_brackets_are_printed_as_they_are() -> None:
    names = ("[/x]", "[red]ann", "[bold")
    table = Table(names[0])
    table.add_row(names[1])
    with console.capture() as caught:
        console.print(table, names[2])
    assert all(name in caught.get() for name in names)
