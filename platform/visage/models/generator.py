"""What every generator is, and how one is built again from what a checkpoint or a bundle says of it."""

from collections.abc import Mapping
from inspect import signature
from typing import Any, ClassVar

from torch import nn

LATER = frozenset({"basis", "exaggeration"})  # named by a network that has one; older ones know nothing of it


class Network(nn.Module):
    """A generator: faces N,3,S,S in [-1, 1] and what is asked of each, to faces N,3,S,S. size: side S in pixels."""

    NAME: ClassVar[str]
    size: int

    def architecture(self) -> dict[str, Any]:
        """What `build_generator` needs to make this network again: its name, and its arguments as its attributes."""
        return {"name": self.NAME} | {each: getattr(self, each) for each in signature(type(self)).parameters}


def build_generator(architecture: Mapping[str, Any], kinds: Mapping[str, type[Network]]) -> Network:
    """The network that `architecture()` described, untrained. kinds: those that it may be, by name.

    Raises ValueError when the description is of none of them.
    """
    arguments = dict(architecture)
    kind = kinds.get(str(arguments.pop("name", None)))
    if kind is None or set(arguments) - LATER != set(signature(kind).parameters) - LATER:
        raise ValueError(f"{dict(architecture)} describes no generator; known are {', '.join(kinds)}")
    return kind(**arguments)
