"""The networks of a bundle as its card describes them, and whether the files hold their weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.errors import UserError, one_line
from visage.methods import method_of
from visage.registry.card import CARD, CHECK, FILES, GENERATOR, MEND, NATURAL, SAMPLES, Card

if TYPE_CHECKING:
    from torch import nn


def weights_of(network: "nn.Module") -> dict[str, Any]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}


def networks_of(card: Card) -> "dict[str, nn.Module]":
    """Untrained networks by file. Raises ValueError, TypeError or KeyError for a description of something else."""
    architecture = card.architecture
    from torch import nn

    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck

    if set(architecture.encoder) != {"name", "dimensions"} or architecture.encoder["name"] != "compact":
        raise ValueError(f"{architecture.encoder} describes no compact encoder")
    check = ExpressionCheck(card.expressions)
    if architecture.check != check.architecture():
        raise ValueError(f"{architecture.check} describes no expression check of the card's expressions")
    encoder = CompactEncoder(dimensions=architecture.encoder["dimensions"])
    return {
        GENERATOR: method_of(card.method).generator_of(architecture.generator),
        CHECK: nn.ModuleDict({"encoder": encoder, "check": check}),
    }


def check_weights(folder: Path, card: Card) -> None:
    """Compare the tensors' names, shapes and types with those of the networks that the card describes."""
    import torch
    from safetensors import SafetensorError, safe_open

    from visage.models.judges import NaturalCheck

    try:
        with torch.device("meta"):  # shapes without memory, so that a card cannot ask for more than there is
            networks = networks_of(card)
            further = {NATURAL: NaturalCheck(), **method_of(card.method).extras_of(networks[GENERATOR])}
    except Exception as error:  # every way a foreign description can fail to be these networks
        raise UserError(f"{folder / CARD}: architecture cannot be built ({one_line(error)}); {MEND}.") from None
    if beyond := set(card.files) - {*FILES, SAMPLES, *further}:
        raise UserError(f"{folder / CARD}: {sorted(beyond)[0]} is no file of a model of {card.method}; {MEND}.")
    for file, network in {**networks, **further}.items():
        if file not in card.files:
            continue
        shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
        try:
            with safe_open(folder / file, framework="pt") as tensors:
                found = {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{folder / file}: is no safetensors file ({error}); {MEND}.") from None
        wrong = sorted(key for key in shapes.keys() | found.keys() if shapes.get(key) != found.get(key))
        if wrong:
            key = wrong[0]
            raise UserError(
                f"{folder / file}: {key} has the shape {found.get(key, 'of nothing')} and the architecture "
                f"in {CARD} asks for {shapes.get(key, 'none')}; {MEND}."
            )
