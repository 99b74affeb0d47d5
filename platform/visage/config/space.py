"""Search space and ablation as data: dotted paths into the experiment, each with a range, choices or a value."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator

from visage.config.data import Section
from visage.config.method import alike

if TYPE_CHECKING:
    from visage.config.experiment import Experiment

SEARCHABLE = ("loss", "optim", "method")


class Dimension(Section):
    """One searched value: exactly one of a range, a range on a log scale, or a list of choices."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    choice: tuple[float | int | str | bool, ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        given = [name for name in ("uniform", "log_uniform", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of uniform: [low, high], log_uniform: [low, high], choice: [a, b]")
        if self.choice is not None:
            if len(self.choice) < 2:
                raise ValueError(f"choice {list(self.choice)} leaves nothing to choose; give two values or more")
            return self
        low, high = self.uniform or self.log_uniform or (0.0, 0.0)
        if not low < high:
            raise ValueError(f"low {low:g} is not below high {high:g}; swap or widen them")
        if self.log_uniform is not None and low <= 0:
            raise ValueError(f"a log scale needs low above 0, and low is {low:g}; raise it or use uniform")
        return self

    def ends(self) -> tuple[Any, ...]:
        """The values that must be allowed by the field: the ends of the range, or all choices."""
        return self.choice or self.uniform or self.log_uniform or ()

    def contains(self, value: Any) -> bool:
        if self.choice is not None:
            return value in self.choice
        low, high = self.uniform or self.log_uniform or (math.inf, -math.inf)
        return low <= value <= high


def check_varied(experiment: "Experiment") -> None:
    """Raise ValueError where a path of the search space, of the final training or of an ablation's variant leads
    nowhere, or a value there would be refused."""
    search = experiment.search
    for path, dimension in search.space.items():
        for value in dimension.ends():
            _check("search.space", experiment, {path: value}, SEARCHABLE)
    if search.final:
        _check("search.final", experiment, search.final, ("train", "optim"))
        if both := search.final.keys() & search.space.keys():
            raise ValueError(f"search.final: {min(both)} is what the study searches; leave it out")
    for name, settings in experiment.ablation.variants.items():
        _check(f"ablation.variants: {name}", experiment, settings, SEARCHABLE)


def _check(where: str, experiment: "Experiment", values: Mapping[str, Any], sections: Sequence[str]) -> None:
    """Raise ValueError unless the experiment may have these values, all in these sections, and is judged as before."""
    for path in values:
        if path.split(".")[0] not in sections:
            raise ValueError(f"{where}: {path} cannot be varied; use paths under {', '.join(sections)}")
    try:
        varied = replaced(experiment, values, check=False)
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]}") from None
    except ValidationError as error:
        given = ", ".join(f"{path} = {value!r}" for path, value in values.items())
        raise ValueError(f"{where}: {given}: {error.errors()[0]['msg']}") from None
    own, other = experiment.method.name, varied.method.name
    if not alike(own, other):
        raise ValueError(
            f"{where}: method.name = {other!r}: is judged on other tasks than {own}, so that their figures say nothing "
            "of each other; give each method a file of its own"
        )


def set_path(tree: dict[str, Any], path: str, value: Any) -> None:
    """Put a value at a dotted path of a nested dictionary.

    Raises KeyError with the reason when the path leads through something that is no section.
    """
    *sections, last = path.split(".")
    for name in sections:
        node = tree.setdefault(name, {})
        if not isinstance(node, dict):
            raise KeyError(f"{name} is a value and has no settings below it")
        tree = node
    tree[last] = value


def replaced(experiment: "Experiment", values: Mapping[str, Any], *, check: bool = True) -> "Experiment":
    """The experiment with other values at dotted paths, validated as a whole.

    check=False leaves the search space, the final training and the variants of the ablation out of it.
    """
    tree = experiment.model_dump()
    if not check:
        tree["search"]["space"] = {}
        tree["search"]["final"] = {}
        tree["ablation"]["variants"] = {}
    for path, value in values.items():
        _require_leaf(tree, path)
        set_path(tree, path, value)
    return type(experiment).model_validate(tree)


def _require_leaf(tree: dict[str, Any], path: str) -> None:
    node: Any = tree
    walked: list[str] = []
    for name in path.split("."):
        if not isinstance(node, dict) or name not in node:
            known = ", ".join(sorted(node)) if isinstance(node, dict) else "nothing"
            raise KeyError(f"{path} is no setting: {'.'.join(walked) or 'an experiment'} has {known}")
        node = node[name]
        walked.append(name)
    if isinstance(node, dict):
        raise KeyError(f"{path} is a section with {', '.join(sorted(node))}; write '{path}.NAME: VALUE' for each")
