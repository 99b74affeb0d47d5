"""Names that other packages call their own and Visage cannot do without, asked for in one way."""

import inspect
from importlib.metadata import version
from typing import Any

from visage.errors import UserError


def private(owner: Any, name: str) -> Any:
    """What a module, class or object has under a name. Raises UserError where its package has it no more."""
    try:
        return getattr(owner, name)
    except AttributeError:
        raise UserError(_gone(owner, name)) from None


def _gone(owner: Any, name: str) -> str:
    if inspect.ismodule(owner):
        place = owner.__name__
    else:  # a class of ours stands for the one that it is made of
        kinds = (owner if inspect.isclass(owner) else type(owner)).__mro__
        kind = next(kind for kind in kinds if not kind.__module__.startswith("visage."))
        place = f"{kind.__module__}.{kind.__name__}"
    package = place.partition(".")[0]
    return (
        f"{package} {version(package)}: has no {place}.{name}, which a search leans on; install the version that "
        "pyproject.toml asks for."
    )
