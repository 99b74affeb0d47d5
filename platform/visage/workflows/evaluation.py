"""A registered model judged on a face set, as its command prints it."""

from pathlib import Path
from typing import TYPE_CHECKING

from visage.config.experiment import Judge
from visage.errors import UserError
from visage.methods.requests import EXPRESSION
from visage.workflows.terminal import console
from visage.workflows.training import judges_of

if TYPE_CHECKING:
    from visage.faces.faceset import FaceSet
    from visage.judging.judges import Generator
    from visage.registry.bundle import Bundle


def evaluate_model(
    model: str, data: str, registry: str, inception: Path | None = None, beside: str | None = None
) -> None:
    """Print the table of a model on the test people of a face set. beside: another model, see `Method.evaluate`."""
    import torch

    from visage.config import validated
    from visage.config.data import Preparation
    from visage.faces.shared import opened
    from visage.judging.networks.train import stored_networks
    from visage.judging.table import table
    from visage.registry.models import Registry
    from visage.registry.store import in_store

    faces = opened(validated(Preparation, {"data": {"dir": data}}, "visage evaluate").data)
    bundle = Registry(registry).fetch(model)
    # Of an older model's configuration this alone is still asked.
    judge = validated(Judge, bundle.card.config.get("judge", {}), model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    other = None
    if beside:
        told = Registry(registry).fetch(beside)
        told.require(EXPRESSION)
        other = _generator_for(faces, told, beside, device)
    generator = _generator_for(faces, bundle, model, device)
    # The set's own judges: a model must not choose, or replace, who judges it.
    networks = stored_networks(faces) or judges_of(faces, judge, paired=bundle.method.Networks.paired)
    evaluation = bundle.method.evaluate(
        generator, faces, networks, judge, device=device, extras=bundle.extras(), inception=inception, beside=other
    )
    console.print(table(evaluation))
    registered = bundle.facts.version is not None
    named = bundle.facts.label if registered else model
    usage = f"promote {named}" if registered else f"{bundle.method.request.command('EXPRESSION')} --model {named}"
    console.print(f"next: visage {usage}{in_store(registry) if registered else ''}")


def _generator_for(faces: "FaceSet", bundle: "Bundle", model: str, device: str) -> "Generator":
    """A bundle's generator as a face set asks it: one of expressions by name by the set's own numbers of them.

    Raises UserError where the set does not fit it.
    """
    named = bundle.method.request is EXPRESSION
    made, shown = bundle.card.expressions, faces.expressions
    if named and set(made) != set(shown):
        raise UserError(
            f"{model}: makes {', '.join(made)} at {bundle.card.image_size} px, and {faces.dir} with its judges shows "
            f"{', '.join(shown)} at {faces.size} px; give a face set like the one it was trained on."
        )
    if bundle.card.image_size != faces.size:
        raise UserError(
            f"{model}: makes faces of {bundle.card.image_size} px, and {faces.dir} holds {faces.size} px; give a face "
            "set like the one it was trained on."
        )
    generator = bundle.generator().to(device)
    if not named:
        return generator
    order = [shown.index(name) for name in made]
    return lambda inputs, condition: generator(inputs, condition[:, order])
