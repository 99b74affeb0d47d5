"""The model registry: versions of `visage-<method>`, their aliases, and who moves them."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from visage.errors import UserError
from visage.registry.bundle import Bundle, ModelFacts, read_bundle
from visage.registry.bundle_cache import CARD_HASH, BundleCache, card_hash
from visage.registry.eyes import between_versions
from visage.registry.gate import Verdict, judge_promotion, trivial_answers
from visage.registry.results import floors_of
from visage.registry.store import absolute, every, if_there, open_store, store_faults

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
FOLDER = "bundle"  # among the run's artifacts
MODEL = re.compile(r"(?P<name>[\w.-]+)(?:@(?P<alias>[A-Za-z][\w-]*)|/(?P<version>\d{1,9}))")
OURS = "name LIKE 'visage-%'"  # a store may hold other people's models too, hundreds of them
ALIASES = f"""Generators that `visage train` and `visage tune` made. A version is one of them, with its figures on
people it never saw; its bundle lies in the run that it came from.

- **{CHAMPION}**: what `visage serve` answers with. A gate moves it: `visage promote NAME/VERSION` (docs/runs.md).
- **{CHALLENGER}**: a version that the gate could not tell from the champion; an endpoint may run it beside that.
- **{PREVIOUS}**: the champion before, for `visage rollback NAME`.

Whoever asks for `NAME@{CHAMPION}` gets the version that holds the alias at that time."""
TRIVIAL = "the copied input (score) and the mean face (identity)"


class NoSuchModel(UserError):
    """The registry answers, and has no such model, alias or version."""


@dataclass(frozen=True)
class Version:
    """A line of `visage models`. metrics: as in the card. verdict: the gate's last decision, empty before one."""

    name: str
    version: int
    aliases: tuple[str, ...]
    run_id: str
    created: datetime
    metrics: dict[str, float]
    verdict: str


@dataclass(frozen=True)
class Promotion:
    """What `promote` decided and did. alias: what the candidate got, champion or challenger; None when rejected."""

    facts: ModelFacts
    verdict: Verdict
    alias: str | None
    forced: bool


class Registry:
    """The registry in the store at `uri`; raises UserError as `open_store`, and when the store refuses."""

    def __init__(self, uri: str) -> None:
        self.uri = absolute(uri)
        self.client = open_store(uri)
        self.cache = BundleCache(self.uri)

    def register(self, folder: Path, run_id: str) -> int:
        """Put the bundle in `folder` beside the run's artifacts and give it the next version of `visage-<method>`."""
        from visage.registry.model_card import summary

        bundle = read_bundle(folder)
        name = bundle.facts.name
        figures = {key: estimate.value for key, estimate in bundle.card.metrics.items()}
        tags = {
            "visage.sha256": bundle.card.sha256,
            "visage.data_sha256": bundle.card.data.sha256,
            "visage.metrics": json.dumps(figures),
            CARD_HASH: card_hash(folder),
        }
        with store_faults(self.uri):
            self.client.log_artifacts(run_id, str(folder), FOLDER)
            self._create(name)
            source = f"{self.client.get_run(run_id).info.artifact_uri}/{FOLDER}"
            # No await: the version is ready when it is made, and waiting would sleep.
            made = self.client.create_model_version(
                name, source, run_id, tags=tags, description=summary(bundle.card), await_creation_for=0
            )
        return int(made.version)

    def fetch(self, model: str) -> Bundle:
        """The checked bundle of `name@alias`, `name/version` or a folder; its facts say which.

        Raises NoSuchModel for a model, alias or version that is not there, naming those that are.
        """
        if Path(model).is_dir():
            return read_bundle(Path(model))
        found, alias = self._find(model)
        return self.cache.fetch(found, _facts(found, alias))

    def find(self, model: str) -> ModelFacts:
        """What the registry knows of a model, without fetching it. Raises UserError as `fetch` for one not there."""
        if Path(model).is_dir():
            return read_bundle(Path(model)).facts
        return _facts(*self._find(model))

    def version_of(self, run_id: str) -> str | None:
        """The newest version that came from a run, as name/version; None for a run without one."""
        with store_faults(self.uri):
            found = every(self.client.search_model_versions, filter_string=f"run_id = '{run_id}'")
        newest = max(found, key=lambda version: int(version.version), default=None)
        return f"{newest.name}/{newest.version}" if newest else None

    def is_champion(self, model: str) -> bool:
        """Whether `name/version` is its model's champion."""
        found, _ = self._find(model)
        return self._aliases(found.name).get(CHAMPION) == str(found.version)

    def list(self) -> "list[Version]":
        """All versions, by name and then the newest first."""
        lines = []
        with store_faults(self.uri):
            for model in every(self.client.search_registered_models, filter_string=OURS):
                holders: dict[int, list[str]] = {}
                for alias, version in model.aliases.items():
                    holders.setdefault(int(version), []).append(alias)
                for found in self._versions(model.name):
                    lines.append(_line(found, tuple(sorted(holders.get(int(found.version), [])))))
        return sorted(lines, key=lambda line: (line.name, -line.version))

    def promote(self, model: str, force: bool = False) -> Promotion:
        """Let the gate compare a version with the champion, and move the aliases as it decides.

        model: `name@alias` or `name/version`. The old champion becomes `previous`. A candidate that the gate cannot
        judge becomes `challenger`; one that it rejects is no longer that, as callers may be given a challenger's faces.
        `force` makes either the champion. Verdict and reasons are written as tags of the version first; the champion
        moves last, so that whoever asks for it meanwhile gets a whole model.

        Where another champion has taken its place meanwhile, the gate judges anew against that one. MLflow offers no
        move on a condition, so of two promotions that move within the same few milliseconds the last one wins.
        """
        found, _ = self._find(model)
        candidate = self.fetch(f"{found.name}/{found.version}")
        name, version = found.name, str(found.version)
        now = self._aliases(name)
        while True:
            champion = now.get(CHAMPION)
            if champion == version:
                raise UserError(f"{model}: version {version} is the champion already; promote another version.")
            verdict = self._judge(candidate, None if champion is None else f"{name}/{champion}")
            forced = force and verdict.decision != "promote"
            self._write(name, version, verdict, champion, forced=forced)
            now = self._aliases(name)
            if now.get(CHAMPION) == champion:
                break
        moves = forced or verdict.decision == "promote"
        alias = CHAMPION if moves else CHALLENGER if verdict.decision == "undecided" else None
        with store_faults(self.uri):
            if now.get(CHALLENGER) == version and alias != CHALLENGER:
                self.client.delete_registered_model_alias(name, CHALLENGER)
            if moves and champion is not None:
                self.client.set_registered_model_alias(name, PREVIOUS, champion)
            if alias is not None:
                self.client.set_registered_model_alias(name, alias, version)
        facts = ModelFacts(name, int(version), alias, candidate.facts.run_id)
        return Promotion(facts, verdict, alias, forced)

    def rollback(self, name: str) -> ModelFacts:
        """Make the previous champion the champion again; the two change places. Returns the new champion's facts.

        Raises UserError too where another one has become champion meanwhile, whom nobody meant to take back.
        """
        aliases = self._aliases(name)
        if PREVIOUS not in aliases:
            raise UserError(f"{name}: has no {PREVIOUS} version to go back to; choose one with `visage promote`.")
        bundle = self.fetch(f"{name}/{aliases[PREVIOUS]}")  # a damaged bundle must not become the champion
        now = self._aliases(name)
        if any(now.get(alias) != aliases.get(alias) for alias in (CHAMPION, PREVIOUS)):
            raise UserError(f"{name}: version {now.get(CHAMPION)} has become champion meanwhile; see `visage models`.")
        with store_faults(self.uri):
            if CHAMPION in aliases:
                self.client.set_registered_model_alias(name, PREVIOUS, aliases[CHAMPION])
            else:
                self.client.delete_registered_model_alias(name, PREVIOUS)
            self.client.set_registered_model_alias(name, CHAMPION, aliases[PREVIOUS])
        return ModelFacts(name, int(aliases[PREVIOUS]), CHAMPION, bundle.facts.run_id)

    def _write(self, name: str, version: str, verdict: Verdict, champion: str | None, *, forced: bool) -> None:
        """Put a verdict, and whom it was against, on the version."""
        tags = {
            "visage.gate.verdict": verdict.decision,
            "visage.gate.reasons": "; ".join(verdict.reasons),
            "visage.gate.intervals": json.dumps({key: asdict(value) for key, value in verdict.intervals.items()}),
            "visage.gate.against": TRIVIAL if champion is None else f"version {champion}",
            "visage.gate.forced": str(forced).lower(),
        }
        with store_faults(self.uri):
            for key, value in tags.items():
                self.client.set_model_version_tag(name, version, key, value)

    def _judge(self, candidate: Bundle, champion: str | None) -> Verdict:
        """The gate's verdict, or undecided where there is nothing to compare."""
        try:
            rows, measured, asked = candidate.results(), candidate.method.measured, candidate.facts.label
            model, floors = rows["model"], floors_of(rows, measured.floors, asked)
            if champion is None:
                trivial = trivial_answers(rows["copy"], rows[measured.wrong])
                return judge_promotion(model, trivial, floors=floors, opponent_name=TRIVIAL)
            other = self.fetch(champion)
            if not candidate.card.data.judged_as(other.card.data):
                raise UserError(
                    f"{asked} and {champion} were judged on other faces or by other judges; train and evaluate both on "
                    "one face set"
                )
            standing = other.results()
            if measured.remeasured:
                floors_of(standing, measured.floors, champion)
            eyes = between_versions(self.client, self.uri, candidate.facts, other.facts)
            told = f"the champion, version {other.facts.version}"
            return judge_promotion(model, standing["model"], floors=floors, opponent_name=told, eyes=eyes)
        except UserError as error:
            return Verdict("undecided", (str(error).rstrip("."),))
        except KeyError as error:
            return Verdict("undecided", (f"the results have no row {error}",))

    def _find(self, model: str) -> "tuple[ModelVersion, str | None]":
        """The version that `name@alias` or `name/version` means, and the alias."""
        parts = MODEL.fullmatch(model)
        if parts is None and Path(model).is_dir():
            raise UserError(f"{model}: is a folder and no registered version; write name@alias or name/version.")
        if parts is None:
            raise UserError(f"{model}: is no model and no folder; write name@alias, name/version or a bundle's folder.")
        name, alias, number = parts["name"], parts["alias"], int(parts["version"] or 0)
        with store_faults(self.uri):
            if alias is not None:
                found = if_there(lambda: self.client.get_model_version_by_alias(name, alias))
            else:
                found = if_there(lambda: self.client.get_model_version(name, str(number)))
        if found is not None:
            return found, alias
        aliases = self._aliases(name)
        if alias is not None:
            known = ", ".join(sorted(aliases)) or "none"
            raise NoSuchModel(
                f"{model}: {name} has no alias {alias}; it has {known}; see `visage models`, and `visage promote`."
            )
        with store_faults(self.uri):
            known = ", ".join(map(str, sorted(int(each.version) for each in self._versions(name)))) or "none"
        raise NoSuchModel(f"{model}: {name} has no version {number}; its versions are {known}.")

    def _create(self, name: str) -> None:
        """Make the model, unless it is there."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name, description=ALIASES)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _versions(self, name: str) -> "Sequence[ModelVersion]":
        return every(self.client.search_model_versions, filter_string=f"name = '{name}'")

    def _aliases(self, name: str) -> dict[str, str]:
        """Alias to version. Raises NoSuchModel when there is no such model."""
        with store_faults(self.uri):
            model = if_there(lambda: self.client.get_registered_model(name))
            if model is not None:
                return {alias: str(version) for alias, version in model.aliases.items()}
            ours = every(self.client.search_registered_models, filter_string=OURS)
        if not ours:
            raise NoSuchModel(
                f"{name}: is no registered model, as {self.uri} has none yet; train one with `visage train`."
            )
        known = ", ".join(sorted(each.name for each in ours))
        raise NoSuchModel(f"{name}: is no registered model; registered are {known}, in {self.uri}.")


def _facts(found: "ModelVersion", alias: str | None) -> ModelFacts:
    return ModelFacts(found.name, int(found.version), alias, found.run_id or "")


def _line(found: "ModelVersion", aliases: tuple[str, ...]) -> Version:
    figures = json.loads(found.tags.get("visage.metrics", "{}"))
    return Version(
        name=found.name,
        version=int(found.version),
        aliases=aliases,
        run_id=found.run_id or "",
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        metrics={key: value for key, value in figures.items() if value is not None},
        verdict=found.tags.get("visage.gate.verdict", ""),
    )
