"""The command that begins a project."""

import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

T = TypeVar("T")
HERE = "here"
Layouts = Literal["synthetic", "folder", "kdef", "rafd", "oulu-casia", "london"]


def init(
    folder: Annotated[Path, typer.Argument(metavar="NAME", help="Folder of the project, to be made")],
    layout: Annotated[
        Layouts | None, typer.Option(help="How the photographs are named; synthetic: none are needed, faces are drawn")
    ] = None,
    source: Annotated[Path | None, typer.Option(help="Folder of the photographs")] = None,
    size: Annotated[int | None, typer.Option(help="Side of a face in pixels, a power of two from 32 to 512")] = None,
    gpus: Annotated[int | None, typer.Option(help="GPUs of a trial", min=0, max=1)] = None,
    address: Annotated[
        str | None, typer.Option(help="Where to search: a cluster's job server, http://HOST:8265, or here")
    ] = None,
) -> None:
    """Begin a project: an experiment, an endpoint, and the commands that come next. Asks for what is not given."""
    from visage.workflows.init import begin

    names = ", ".join(Layouts.__args__)  # type: ignore[attr-defined]
    where = address or _asked("Where to search (a cluster's job server as http://HOST:8265, or here)", HERE)
    cluster = "" if where == HERE else where
    chosen: str = layout or _asked(f"Faces ({names})", "folder" if source else "synthetic")
    drawn = chosen == "synthetic"
    if source is None and not drawn:
        asked = f"Folder of the photographs{', on the cluster' if cluster else ''}"
        source = Path(_asked(asked, "/shared/photos" if cluster else "photos"))
    side = size or _asked("Side of a face in pixels", 64 if drawn else 128)
    begin(folder, chosen, source, side, _asked("GPUs of a trial, 0 or 1", 0) if gpus is None else gpus, cluster)


def _asked(question: str, usual: T) -> T:
    """What a person answers; the usual where none is there to ask."""
    answer: T = typer.prompt(question, default=usual, err=True) if sys.stdin.isatty() else usual
    return answer
