"""The commands on pictures; heavy imports happen inside."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from visage.cli.options import LOCAL_STORE, Store

WhichFace = Annotated[
    int | None,
    typer.Option("--face", min=1, help="Which of several in the photograph, from 1 on the left", show_default=False),
]


def _by_name() -> str:
    from visage.methods import usual_model
    from visage.methods.requests import EXPRESSION

    return usual_model(EXPRESSION)


def _by_driver() -> str:
    from visage.methods import usual_model
    from visage.methods.requests import DRIVER

    return usual_model(DRIVER)


def edit(
    photo: Annotated[Path, typer.Argument(help="Photograph, a folder of them, or a clip", show_default=False)],
    to: Annotated[str, typer.Option("--to", help="Expression, such as happy", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            help="Picture to write: .png, .jpg, .webp; a folder of a folder, .mp4 or .mkv of a clip", show_default=False
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="name@alias, name/version, or a bundle", default_factory=_by_name, show_default="the champion"
        ),
    ],
    intensity: Annotated[float, typer.Option(help="0 to 1.5")] = 1.0,
    url: Annotated[str | None, typer.Option(help="Ask this endpoint instead of loading a model")] = None,
    view: Annotated[Literal["photo", "face"], typer.Option(help="The whole photograph, or the aligned face")] = "photo",
    animation: Annotated[bool, typer.Option("--animation", help="From neutral to it, as a moving .webp")] = False,
    face: WhichFace = None,
    registry: Store = LOCAL_STORE,
) -> None:
    """Give the face in a photograph another expression, or in all of a folder, or in a clip."""
    from visage.faces.picture import ENDINGS
    from visage.workflows.pictures import edit_photo

    edit_photo(photo, to, out, intensity, model, url, view, registry, animation, face)
    if not photo.is_dir():
        typer.echo(f"{out}: written.")
        if out.suffix.lower() in ENDINGS:
            typer.echo(f"next: visage inspect {out}")


def transfer(
    photo: Annotated[Path, typer.Argument(help="Photograph whose face it is, or a folder of them", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Picture to write; a folder of a folder, or with several --from", show_default=False)
    ],
    model: Annotated[
        str,
        typer.Option(
            help="name@alias, name/version, or a bundle", default_factory=_by_driver, show_default="the champion"
        ),
    ],
    drivers: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Photograph with one face: whose expression; repeatable", show_default=False),
    ] = None,
    au: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of --from: an action unit and its intensity, as 12=0.8; repeatable", show_default=False
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Ask this endpoint instead of loading a model")] = None,
    view: Annotated[Literal["photo", "face"], typer.Option(help="The whole photograph, or the aligned face")] = "photo",
    face: WhichFace = None,
    registry: Store = LOCAL_STORE,
) -> None:
    """Give the face in a photograph the expression of a face in another, or action units."""
    from visage.workflows.pictures import transfer_photo

    for written in (made := transfer_photo(photo, drivers or [], out, model, url, view, registry, au, face)):
        typer.echo(f"{written}: written.")
    if made:
        typer.echo(f"next: visage inspect {made[-1]}")


def inspect(
    file: Annotated[Path, typer.Argument(help="Picture: PNG, JPEG, WebP", show_default=False)],
) -> None:
    """Show what a picture says of itself: the model that made it, and what kind of picture it is."""
    from visage.workflows.pictures import inspect_picture

    inspect_picture(file)
