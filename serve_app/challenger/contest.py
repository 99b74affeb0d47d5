"""Champion and challenger: which of them answers a request, and what is recorded of it."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from serve_app.problems import Problem
from visage.api.schema import Comparison, LoadedModel, ModelDescription
from visage.config.serving import Challenger

if TYPE_CHECKING:
    from serve_app.challenger.shadow import Watch
    from serve_app.inference import Seen
    from serve_app.loaded_model import Model

CHAMPION, CHALLENGER = "champion", "challenger"
Compare = Callable[[str, str], Awaitable[dict[str, Any]]]


class Held(Protocol):
    """What holds a model: `model` is None while there is none, and `fault` then says why."""

    model: "Model | None"
    fault: str

    def description(self) -> LoadedModel | None: ...


@dataclass(frozen=True)
class Choice:
    """Who answers a request. seen: is called with what came of it, where that is recorded."""

    model: "Model"
    seen: "Seen | None" = None


class Contest:
    """The model that answers and, where one is configured, its challenger.

    settings: how much of the requests the challenger gets. watch: takes the records. compare: gives what was recorded
    of two models, by their labels.
    """

    def __init__(
        self,
        champion: Held,
        challenger: Held | None = None,
        settings: Challenger | None = None,
        watch: "Watch | None" = None,
        compare: Compare | None = None,
    ) -> None:
        self._champion, self._challenger, self._compare = champion, challenger, compare
        self._settings, self._watch = settings or Challenger(), watch

    def champion(self) -> "Model":
        """Raises Problem 503 while there is none."""
        if self._champion.model is None:
            raise Problem(503, self._champion.fault, {"Retry-After": "5"})
        return self._champion.model

    def choose(self, version: str | None) -> Choice:
        """The model for a request. version: what it asks for: champion, challenger or a version's number.

        Requests that ask for one are not recorded: who chooses is not a matter of chance. Raises Problem 422 and 503.
        """
        champion, challenger = self.champion(), self._rival()
        if version is not None:
            return Choice(self._named(version, champion, challenger))
        if challenger is None:
            return Choice(champion)
        settings, watch = self._settings, self._watch
        model = challenger if random.random() < settings.share else champion
        if watch is None or incomparable(champion, challenger):
            return Choice(model)
        if model is champion and random.random() < settings.shadow:
            return Choice(model, partial(watch.shadow, champion, challenger))
        if not settings.share:
            return Choice(model)
        return Choice(model, partial(watch.answered, champion, challenger))

    def description(self, transfers: Held | None) -> ModelDescription:
        """What /v1/model says. transfers: what holds their model. Raises Problem 503 without a champion."""
        found = self._champion.description() or self.champion().description()
        others = {CHALLENGER: self._challenger, "transfer": transfers}
        beside = {name: held.description() for name, held in others.items() if held}
        return ModelDescription.model_validate(found.model_dump(exclude_unset=True) | beside)

    async def comparison(self) -> Comparison:
        """What /v1/comparison says. Raises Problem 404 without a challenger, 503 without a champion."""
        champion, challenger = self.champion(), self._rival()
        if challenger is None or self._compare is None:
            raise Problem(404, self._no_rival())
        found: dict[str, Any] = {"champion": champion.reference(), "challenger": challenger.reference()}
        if reason := incomparable(champion, challenger):
            return Comparison(**found, incomparable=reason)
        return Comparison(**found, **await self._compare(champion.label, challenger.label))

    def _rival(self) -> "Model | None":
        """The challenger, if there is one that is not the champion."""
        there = self._challenger.model if self._challenger else None
        return None if there is None or there.label == self.champion().label else there

    def _no_rival(self) -> str:
        if self._challenger is None:
            return "No challenger is configured here; set challenger in the endpoint's configuration."
        if self._challenger.model is None:
            return self._challenger.fault
        return "The challenger is the champion itself; move the alias challenger to another version."

    def _named(self, version: str, champion: "Model", challenger: "Model | None") -> "Model":
        if version in (CHAMPION, str(champion.facts.version)):
            return champion
        if challenger and version in (CHALLENGER, str(challenger.facts.version)):
            return challenger
        if version == CHALLENGER:
            raise Problem(422, f"version = 'challenger': there is none. {self._no_rival()}")
        served = [f"{CHAMPION} ({champion.label})"]
        if challenger:
            served.append(f"{CHALLENGER} ({challenger.label})")
        raise Problem(422, f"version = {version[:40]!r}: is not served; {' and '.join(served)} can be asked for.")


def incomparable(champion: "Model", challenger: "Model") -> str:
    """Why the self-check values of two models must not be held against one another; empty where they may be."""
    if champion.editor.expressions != challenger.editor.expressions or champion.editor.size != challenger.editor.size:
        return "The two models have other expressions or another size of faces, so they answer different requests."
    if champion.check != challenger.check:
        return "The two models are checked by other networks, so their values do not mean the same."
    return ""
