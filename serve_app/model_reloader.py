"""Holds a replica's model, and follows its alias: a new champion is loaded beside the old one and takes its place."""

import re
import threading
import time
from collections.abc import Callable
from typing import Literal

from serve_app.health import end_if_unusable
from serve_app.loaded_model import Model, load
from serve_app.logs import logger
from visage.api.schema import LoadedModel, RefusedVersion
from visage.config import Serving
from visage.errors import StoreRefused, UserError
from visage.methods.requests import EXPRESSION, Request
from visage.registry.bundle import ModelFacts
from visage.registry.following import follow
from visage.registry.models import NoSuchModel, Registry

POLL_SECONDS = 2.0
SELDOM_SECONDS = 30.0  # where MLflow's webhook says that an alias was moved: a letter that is lost is only late
# A refused version may only have met a full disk or a store that was away, so it is tried again: soon where there is no
# other model, and twice as late each time, as each try loads it and warms it up.
REFUSED_SECONDS, PATIENCE_SECONDS = 60.0, 3600.0
Event = Literal["loaded", "kept", "refused"]


class Holder:
    """Holds the model of a replica: `model` is None while there is none, and `fault` then says why.

    A thread asks every `poll_seconds` what the model's name means, and the registry once for all replicas of a machine.
    It asks at once when `look_now` is called, but no more often than every POLL_SECONDS, as while there is no model.
    Whatever is new is fetched, checked and warmed up in that thread; then one reference changes, so that each request
    has either model from beginning to end. A version that fails is `refused`, and the model that was there goes on.
    `tell` hears, in that thread, of each version that was loaded or refused, or kept as its name means it again. With
    `leaves` the model goes when its alias is taken away, as a challenger does. request: see `loaded_model.load`.
    """

    def __init__(
        self,
        serving: Serving,
        poll_seconds: float = POLL_SECONDS,
        tell: Callable[[Event, int | None], object] = lambda event, version: None,
        *,
        leaves: bool = False,
        request: Request = EXPRESSION,
    ) -> None:
        self._serving, self._poll_seconds, self._tell = serving, poll_seconds, tell
        self._soon = min(poll_seconds, POLL_SECONDS)
        self._leaves, self._request = leaves, request
        self._told = threading.Event()
        self._registry: Registry | None = None
        self._again, self._wait = 0.0, 0.0
        self.model: Model | None = None
        self.refused: RefusedVersion | None = None
        self.fault = "The model is being loaded; try again in a moment."
        self._look(0)
        # A version or a folder never means anything else, once it is there.
        if self.model is None or "@" in serving.model:
            threading.Thread(target=self._follow, name="follow-model", daemon=True).start()

    def description(self) -> LoadedModel | None:
        """What /v1/model says; None while there is no model."""
        model, refused = self.model, self.refused
        if model is None:
            return None
        return model.description(**({"refused": refused} if refused else {}))

    def look_now(self) -> None:
        """Somebody says that the model's name means another version."""
        self._told.set()

    def _follow(self) -> None:
        once_more = False
        while self.model is None or "@" in self._serving.model:
            soon = once_more or (self.model is None and not self._leaves)
            if soon:
                time.sleep(self._soon)
            told = self._told.wait(0 if soon else self._poll_seconds)
            if told:
                self._told.clear()
            self._look(self._soon if soon or told else self._poll_seconds, wait=once_more or told)
            once_more = told  # as what was answered just before the move may have served, and serves no longer then

    def _look(self, seconds: float, *, wait: bool = False) -> None:
        """Ask what the model's name means, or meant that long ago, and load what is new. wait: see `follow`."""
        named: ModelFacts | None = None
        try:
            if self._registry is None:
                self._registry = Registry(self._serving.tracking_uri)
            named = follow(self._registry, self._serving.model, seconds, wait=wait)
            if self.model is not None and named.version == self.model.facts.version:
                if self.refused:
                    self.refused = None
                    self._tell("kept", named.version)
                return
            if self.refused and self.refused.version == named.version and time.monotonic() < self._again:
                return
            model = load(self._serving, self._registry, self._request)
            self.refused = None  # first: nobody is to see it beside the version that came after it
            self.model = model
            logger().warning("The model is now version %s", model.facts.version)
            self._tell("loaded", model.facts.version)
        except NoSuchModel as error:
            if self._leaves:
                self.model = self.refused = None
            self._fail(None, self._public(str(error)))
        except UserError as error:
            self._fail(named, self._public(str(error)), away=isinstance(error, StoreRefused))
        except Exception as error:
            end_if_unusable(error)
            # The reason may hold paths and addresses, so it goes into the log alone.
            logger().exception("A model could not be loaded")
            self._fail(named, f"{self._serving.model}: could not be loaded; the replica's log says why.")

    def _fail(self, named: ModelFacts | None, reason: str, *, away: bool = False) -> None:
        """away: the store gave no file, which costs nothing to try again."""
        if reason != self.fault:
            logger().warning("No new model: %s", reason)
        self.fault = reason
        if named is not None:  # else the registry did not answer, which speaks against no version
            first, most = (REFUSED_SECONDS, PATIENCE_SECONDS) if self.model else (self._soon, REFUSED_SECONDS)
            known = self.refused is not None and self.refused.version == named.version
            self._wait = min(2 * self._wait, most) if known and not away else first
            self.refused = RefusedVersion(version=named.version, reason=reason)
            self._again = time.monotonic() + self._wait
            self._tell("refused", named.version)

    def _public(self, sentence: str) -> str:
        """A fault of the registry without its address, which may hold a password, and without folders."""
        sentence = sentence.replace(
            self._registry.uri if self._registry else self._serving.tracking_uri, "the registry"
        )
        return re.sub(r"\S*/cache/", "", sentence.replace(self._serving.tracking_uri, "the registry"))
