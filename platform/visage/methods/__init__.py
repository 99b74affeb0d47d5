"""The methods: a folder each, and a line here. docs/method.md says how to add one."""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from visage.errors import UserError

if TYPE_CHECKING:
    from visage.methods.base import Method
    from visage.methods.requests import Request

# By the name that method.name gives: the folder, as a module with METHOD. The first is meant where nothing is named.
METHODS = {
    "ucgan": "visage.methods.ucgan",
    "eft": "visage.methods.eft",
}


@cache
def method_of(name: str) -> "Method":
    """The method of this name. Raises UserError for a name that is none."""
    if name not in METHODS:
        raise UserError(f"method {name}: is unknown to this Visage, which knows {', '.join(METHODS)}; update Visage.")
    method: Method = import_module(METHODS[name]).METHOD
    return method


def answering(request: "Request") -> list[str]:
    """The names of the methods that answer this kind of request."""
    return [name for name in METHODS if method_of(name).request is request]


def usual_model(request: "Request", alias: str = "champion") -> str:
    """The model that is meant for a request where nobody names one: of the first method that answers it."""
    return f"visage-{answering(request)[0]}@{alias}"
