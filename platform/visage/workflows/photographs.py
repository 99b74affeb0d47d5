"""What `visage edit FOLDER` and `visage transfer FOLDER` ask for each photograph, of a model or of an endpoint, and
`visage edit CLIP` for each frame."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visage.editing.expression import Change, locate_all, to_drivers, to_expression, to_units
from visage.editing.many import Item, edit_all
from visage.errors import UserError
from visage.infra.files import make_folder
from visage.workflows.folder import Tell, by_endpoint, edit_folder
from visage.workflows.terminal import bar, console

if TYPE_CHECKING:
    from visage.api.schema import ModelReference
    from visage.client import AsyncClient
    from visage.methods.requests import Request
    from visage.registry.bundle import Bundle, ModelFacts

View = Literal["photo", "face"]


def edit_photos(
    folder: Path, to: str, out: Path, intensity: float, model: str, url: str | None, view: View, registry: str,
    animation: bool,
) -> None:  # fmt: skip
    """As `edit_photo`, of every photograph in a folder."""
    from visage.methods.requests import EXPRESSION

    asked = {"to": to, "intensity": intensity, "animation": animation, "view": view}
    ending = ".webp" if animation else None
    if url is None:
        bundle = _fetch(model, registry)
        change = to_expression(bundle.card.expressions, to, intensity, animation)
        _edit_here(folder, out, asked, ending, bundle, EXPRESSION, change, view)
        return
    from visage.client import Client

    with Client(url) as client:
        who = client.model()
    form: Any = {"intensity": intensity, "view": view, "format": "webp" if animation else "png"}

    async def ask(client: "AsyncClient", item: Item) -> None:
        answer = await client.expressions(item.photo, [to], **form)
        await _keep(item, answer.results[0].image, answer.model, who, view)

    edit_folder(folder, out, {**asked, "model": _named(who)}, by_endpoint(url, ask), ending=ending)


def edit_film(clip: Path, to: str, out: Path, intensity: float, model: str, view: View, registry: str) -> None:
    """As `edit_photo`, of a clip: every frame of it."""
    from visage.editing.clip import edit_clip
    from visage.methods.requests import EXPRESSION

    bundle = _fetch(model, registry)
    change = to_expression(bundle.card.expressions, to, intensity, False)
    with bar("editing") as update:
        without = edit_clip(clip, out, bundle, EXPRESSION, change, view=view, update=update)
    if without:
        console.print(f"{out}: in {without} of its frames no face was found; they are as they were.")


def transfer_photos(
    folder: Path, drivers: Sequence[Path], out: Path, model: str, url: str | None, view: View, registry: str,
    units: Mapping[int, float] | None,
) -> None:  # fmt: skip
    """As `transfer_photo`, of every photograph in a folder, with one driver or with action units."""
    from visage.api.calls import content_of
    from visage.methods.requests import DRIVER

    if len(drivers) > 1:
        raise UserError(f"--from: is given {len(drivers)} times and {folder} is a folder; give one driver for all.")
    content = content_of(drivers[0]) if drivers else b""
    asked: dict[str, Any] = {"from": hashlib.sha256(content).hexdigest()[:16] if drivers else None, "view": view}
    asked["au"] = units and {str(au): value for au, value in units.items()}
    if url is None:
        bundle = _fetch(model, registry)
        editor = bundle.editor(DRIVER)
        change = to_drivers(locate_all(drivers, editor.size)) if drivers else to_units(units or {}, editor)
        _edit_here(folder, out, asked, None, bundle, DRIVER, change, view)
        return
    from visage.client import Client

    with Client(url) as client:
        described = client.model()
    who = described.transfer or described

    async def ask(client: "AsyncClient", item: Item) -> None:
        answer = await client.transfer(item.photo, content if drivers else (), au=units, view=view)
        await _keep(item, answer.results[0].image, answer.model, who, view)

    edit_folder(folder, out, {**asked, "model": _named(who)}, by_endpoint(url, ask))


def _fetch(model: str, registry: str) -> "Bundle":
    from visage.registry.models import Registry

    return Registry(registry).fetch(model)


def _edit_here(
    folder: Path, out: Path, asked: Mapping[str, Any], ending: str | None, bundle: "Bundle", request: "Request",
    change: Change, view: View,
) -> None:  # fmt: skip
    def make(items: Sequence[Item], tell: Tell) -> None:
        for item, fault in edit_all(items, bundle, request, change, view=view):
            tell(item, fault)

    edit_folder(folder, out, {**asked, "model": _named(bundle.facts)}, make, ending=ending)


def _named(model: "ModelFacts | ModelReference") -> str:
    """What it is called in the notes: a version, or the run of one that no registry gave."""
    return f"{model.name}/{model.version or f'of the run {model.run_id}'}"


async def _keep(item: Item, image: bytes, made_by: "ModelReference", who: "ModelReference", view: View) -> None:
    """Write an endpoint's answer to an item, of the model that answered first."""
    from anyio import to_thread

    if _named(made_by) != _named(who):
        raise UserError(
            f"{_named(made_by)} answers now and {_named(who)} did before; give another folder as --out, as this one "
            "holds its pictures."
        )
    make_folder(item.out.parent)
    await to_thread.run_sync(keep, item.out, image, made_by, view)


def keep(out: Path, image: bytes, made_by: "ModelReference", view: View) -> None:
    """Write an answer of an endpoint as the kind of picture that a name's ending says."""
    from visage.faces.picture import read_picture, write_picture
    from visage.faces.provenance import xmp_packet
    from visage.infra.files import write_whole

    if out.suffix.lower() == ".png" or image[:4] == b"RIFF":
        write_whole(out, image)  # with the endpoint's own provenance
        return
    xmp = xmp_packet(made_by.name, made_by.version, made_by.run_id, view)
    write_picture(out, read_picture(image), xmp=xmp)
