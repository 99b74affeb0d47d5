"""The generators by name: what a checkpoint or a bundle describes, built again."""

from typing import Any

from visage.models.basis import BasisGenerator
from visage.models.disentangler import Disentangler
from visage.models.unet import UNet

Network = UNet | BasisGenerator | Disentangler
KINDS: dict[str, tuple[type[Network], frozenset[str]]] = {
    "basis": (BasisGenerator, frozenset({"size", "width", "conditions"})),
    "unet": (UNet, frozenset({"size", "width", "conditions", "mask", "warp"})),
    "disentangler": (Disentangler, frozenset({"size", "width", "related", "units", "mask", "warp"})),
}
LATER = frozenset({"basis", "exaggeration"})  # named by a network that has one; older ones know nothing of it


def build_generator(architecture: dict[str, Any]) -> Network:
    """The network that `architecture()` described. Raises ValueError when the description is of none of KINDS."""
    arguments = dict(architecture)
    kind, names = KINDS.get(str(arguments.pop("name", None)), (None, frozenset()))
    if kind is None or set(arguments) - LATER != names:
        raise ValueError(f"{architecture} describes no generator; known are {', '.join(KINDS)}")
    return kind(**arguments)
