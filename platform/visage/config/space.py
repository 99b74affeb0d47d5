"""Search space and ablation as data: dotted paths into the experiment, each with a range, choices or a value."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from visage.config.method import alike

if TYPE_CHECKING:
    from visage.config.experiment import Experiment

SEARCHABLE = ("loss", "optim", "method")


class Dimension(BaseModel):
    """One searched value: exactly one of a range, a range on a log scale, or a list of choices."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

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


def check_space(experiment: "Experiment") -> None:
    """Raise ValueError if a path of the space leads nowhere or a value of it would be refused."""
    for path, dimension in experiment.search.space.items():
        head = path.split(".")[0]
        if head not in SEARCHABLE:
            raise ValueError(f"search.space: {path} cannot be searched; use paths under {', '.join(SEARCHABLE)}")
        for value in dimension.ends():
            try:
                varied = replaced(experiment, {path: value}, check=False)
            except ValidationError as error:
                raise ValueError(f"search.space: {path} = {value!r}: {error.errors()[0]['msg']}") from None
            except KeyError as error:
                raise ValueError(f"search.space: {path} is no setting: {error.args[0]}") from None
            _require_alike("search.space", experiment, varied)


def check_variants(experiment: "Experiment") -> None:
    """Raise ValueError if a path of an ablation's variant leads nowhere or its value would be refused."""
    for name, settings in experiment.ablation.variants.items():
        for path in settings:
            if path.split(".")[0] not in SEARCHABLE:
                known = ", ".join(SEARCHABLE)
                raise ValueError(f"ablation.variants: {name}: {path} cannot be varied; use paths under {known}")
        try:
            varied = replaced(experiment, settings, check=False)
        except ValidationError as error:
            raise ValueError(f"ablation.variants: {name}: {error.errors()[0]['msg']}") from None
        except KeyError as error:
            raise ValueError(f"ablation.variants: {name}: no such setting: {error.args[0]}") from None
        _require_alike(f"ablation.variants: {name}", experiment, varied)


def _require_alike(where: str, experiment: "Experiment", varied: "Experiment") -> None:
    """Raise ValueError where the method would become one that is judged by other figures."""
    own, other = experiment.method.name, varied.method.name
    if not alike(own, other):
        raise ValueError(
            f"{where}: method.name = {other!r}: is judged on other tasks than {own}, so that their figures say nothing "
            "of each other; give each method a file of its own"
        )


def check_final(experiment: "Experiment") -> None:
    """Raise ValueError if the final training's settings lead nowhere, would be refused, or undo what was searched."""
    final = experiment.search.final
    if not final:
        return
    for path in final:
        if path.split(".")[0] not in ("train", "optim"):
            raise ValueError(f"search.final: {path} cannot be set there; use paths under train or optim")
        if path in experiment.search.space:
            raise ValueError(f"search.final: {path} is what the study searches; leave it out")
        try:
            _require_leaf(experiment.model_dump(), path)
        except KeyError as error:
            raise ValueError(f"search.final: {path} is no setting: {error.args[0]}") from None
    try:
        replaced(experiment, final, check=False)
    except ValidationError as error:
        raise ValueError(f"search.final: {error.errors()[0]['msg']}") from None


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
            raise KeyError(f"{'.'.join(walked) or 'an experiment'} has {known}")
        node = node[name]
        walked.append(name)
    if isinstance(node, dict):
        raise KeyError(f"it is a section with {', '.join(sorted(node))}; write '{path}.NAME: VALUE' for each")
