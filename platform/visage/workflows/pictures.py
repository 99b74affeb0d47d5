"""What the commands do that deal with pictures: edit one, or a folder of them, and read what one says of itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from visage.errors import UserError
from visage.workflows.terminal import console

MEANINGS = {
    "compositeWithTrainedAlgorithmicMedia": "a photograph with a generated face in it",
    "trainedAlgorithmicMedia": "generated as a whole",
}


def edit_photo(
    photo: Path, to: str, out: Path, intensity: float, model: str, url: str | None,
    view: Literal["photo", "face"], registry: str, animation: bool = False, face: int | None = None,
) -> None:  # fmt: skip
    """Edit in this process with a model, or by an endpoint. animation: from neutral to the expression, as a WebP.
    face: which of several, counted from 1 on the left. Where `photo` is a folder or a clip, so is `out`."""
    from visage.editing.film import CLIPS
    from visage.faces.picture import check_animation, check_ending
    from visage.workflows.photographs import edit_film, edit_photos, keep

    if photo.is_dir():
        _one_photograph(photo, face)
        edit_photos(photo, to, out, intensity, model, url, view, registry, animation)
        return
    if photo.suffix.lower() in CLIPS:
        if url or animation:
            unfit = "--url" if url else "--animation"
            raise UserError(f"{unfit}: is for photographs, and {photo} is a clip; leave it out.")
        _one_photograph(photo, face)
        edit_film(photo, to, out, intensity, model, view, registry)
        return
    check_ending(out)
    if animation:
        check_animation(out)
    if url is None:
        from visage.editing.expression import edit, to_expression
        from visage.methods.requests import EXPRESSION
        from visage.registry.models import Registry

        bundle = Registry(registry).fetch(model)
        change = to_expression(bundle.card.expressions, to, intensity, animation)
        with _of_several(photo):
            edit(photo, [out], bundle, bundle.editor(EXPRESSION), change, view=view, face=face)
        return
    from visage.client import Client

    with Client(url) as client, _of_several(photo):
        answer = client.expressions(
            photo, [to], intensity=intensity, view=view, format="webp" if animation else "png", face=face
        )
    keep(out, answer.results[0].image, answer.model, view)


def transfer_photo(
    photo: Path, drivers: list[Path], out: Path, model: str, url: str | None, view: Literal["photo", "face"],
    registry: str, au: list[str] | None = None, face: int | None = None,
) -> list[Path]:  # fmt: skip
    """Carry each driver's expression over, in this process with a model, or by an endpoint; with several drivers `out`
    is a folder. au: action units in place of drivers, each as "12=0.8". face: as for `edit_photo`. Where `photo` is a
    folder, so is `out`. Returns the files written; none of a folder, which tells of them itself."""
    from visage.faces.picture import check_ending
    from visage.workflows.photographs import keep, transfer_photos

    if bool(drivers) == bool(au):
        what = "are both given; give one of them" if au else "are both missing; give a driver's picture, or --au 12=0.8"
        raise UserError(f"--from and --au: {what}.")
    units = _units(au) if au else None
    if photo.is_dir():
        _one_photograph(photo, face)
        transfer_photos(photo, drivers, out, model, url, view, registry, units)
        return []
    outs = [out]
    if len(drivers) > 1:
        if out.is_file() or out.suffix:
            raise UserError(
                f"--out {out}: with {len(drivers)} drivers it must be a folder; give one, without an ending."
            )
        outs = [out / f"{place:02d}-{driver.stem}.png" for place, driver in enumerate(drivers, 1)]
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {out}: cannot be made ({error.strerror}); give another folder.") from None
    for each in outs:
        check_ending(each)
    if url is None:
        from visage.editing.expression import edit, to_units
        from visage.methods.requests import DRIVER
        from visage.registry.models import Registry

        bundle = Registry(registry).fetch(model)
        editor = bundle.editor(DRIVER)
        change = to_units(units, editor) if units else None
        with _of_several(photo):
            edit(photo, outs, bundle, editor, change, drivers=drivers, view=view, face=face)
        return outs
    from visage.client import Client

    with Client(url) as client, _of_several(photo):
        answer = client.transfer(photo, drivers, au=units, view=view, face=face)
    for each, result in zip(outs, answer.results, strict=True):
        keep(each, result.image, answer.model, view)
    return outs


def _one_photograph(photo: Path, face: int | None) -> None:
    if face is not None:
        what = "a folder" if photo.is_dir() else "a clip"
        raise UserError(f"--face {face}: is for one photograph, and {photo} is {what}; leave it out.")


@contextmanager
def _of_several(photo: Path) -> Iterator[None]:
    """Where nobody said which of the photograph's faces is meant, the option that says it is named."""
    from visage.client import ClientError
    from visage.faces.align import SeveralFaces

    try:
        yield
    except (SeveralFaces, ClientError) as error:
        many = len(error.faces)
        if not many or (isinstance(error, SeveralFaces) and error.origin != str(photo)):
            raise  # of a driver, none can be named
        raise UserError(
            f"{photo}: {many} faces were found; say which is meant, from --face 1 on the left to --face {many}."
        ) from None


def _units(texts: list[str]) -> dict[int, float]:
    """Intensities by FACS number."""
    found: dict[int, float] = {}
    for text in texts:
        number, _, value = text.partition("=")
        try:
            au, intensity = int(number), float(value)
        except ValueError:
            raise UserError(f"--au {text}: give a unit's FACS number and its intensity, such as 12=0.8.") from None
        if au in found:
            raise UserError(f"--au {text}: unit {au} is given twice; give it once.")
        found[au] = intensity
    return found


def inspect_picture(file: Path) -> None:
    """Print the provenance of a picture as a table, or one sentence where it carries none."""
    from visage.faces.provenance import read_provenance

    found = read_provenance(file)
    if found is None:
        console.print(f"{file}: carries no provenance of Visage; it was not made by it, or was saved again since.")
        return
    table = Table("field", "value", box=SIMPLE_HEAD, pad_edge=False, show_header=False)
    kind = MEANINGS.get(found.source_type)
    table.add_row("model", found.model)
    table.add_row("version", found.version or "none: no registry gave it")
    table.add_row("run_id", found.run_id)
    table.add_row("digital source type", f"{found.source_type} ({kind})" if kind else found.source_type)
    console.print(table)
