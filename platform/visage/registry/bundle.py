"""The bundle: a generator as it is registered and served, in a folder without pickle."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visage.errors import UserError
from visage.infra.files import replace_folder
from visage.methods import answering, method_of, usual_model
from visage.methods.base import NONE, Extras
from visage.methods.requests import Request
from visage.registry.card import (
    CARD,
    CHECK,
    FACES,
    GENERATOR,
    GOLDEN,
    MEND,
    MODEL_CARD,
    NATURAL,
    RESULTS,
    SAMPLES,
    Card,
    read_card,
)
from visage.registry.golden import Golden, golden_file, make_golden, read_golden
from visage.registry.results import Results, read_results, write_results
from visage.registry.samples import Samples, read_samples, samples_file
from visage.registry.versions import versions
from visage.registry.weights import check_weights, networks_of, weights_of

if TYPE_CHECKING:
    from torch import nn

    from visage.methods.base import Editor, Method
    from visage.models.generator import Network
    from visage.models.identity import CompactEncoder
    from visage.models.judges import ExpressionCheck, NaturalCheck


@dataclass(frozen=True)
class ModelFacts:
    """Where a bundle comes from. version and alias are None for a folder that no registry gave."""

    name: str
    version: int | None
    alias: str | None
    run_id: str

    @property
    def label(self) -> str:
        """name/version, or the name alone of a model that no registry gave."""
        return self.name if self.version is None else f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Bundle:
    """A checked bundle. dir: its folder, which must outlive this object, as networks are loaded when asked for."""

    dir: Path
    card: Card
    facts: ModelFacts

    @property
    def method(self) -> "Method":
        """The method that the generator is of."""
        return method_of(self.card.method)

    def require(self, request: Request) -> None:
        """Raise UserError unless the generator answers this kind of request, saying which command it is for."""
        if self.method.request is not request:
            takes = answering(request)
            raise UserError(
                f"{self.facts.name}: is of method {self.card.method} and this takes {' or '.join(takes)}; use visage "
                f"{self.method.request.command('EXPRESSION')}, or give another model, such as {usual_model(request)}."
            )

    def editor(self, request: Request, *, self_check: bool = False, device: str = "cpu") -> "Editor":
        """The networks, ready to answer requests of this kind; see `require` and `Method.editor`."""
        self.require(request)
        return self.method.editor(self, self_check=self_check, device=device)

    def generator(self) -> "Any":
        """The generator on the CPU, in eval mode, without gradients."""
        return self._loaded(GENERATOR, networks_of(self.card)[GENERATOR])

    def self_check(self) -> tuple["CompactEncoder", "ExpressionCheck", dict[str, dict[str, float]]]:
        """Identity encoder and expression classifier, as `generator`, and the quantiles of their values."""
        both: Any = self._loaded(CHECK, networks_of(self.card)[CHECK])
        return both["encoder"], both["check"], self.card.self_check

    def natural(self) -> "NaturalCheck | None":
        """The self-check of whether the mouth is whole, as `generator`; None where the bundle carries none."""
        from visage.models.judges import NaturalCheck

        return self._loaded(NATURAL, NaturalCheck()) if NATURAL in self.card.files else None  # type: ignore[return-value]

    def extras(self) -> Extras:
        """What the method has beside the generator, by file, as `generator`."""
        found = self.method.extras_of(networks_of(self.card)[GENERATOR])
        return {file: self._loaded(file, network) for file, network in found.items() if file in self.card.files}

    def _loaded(self, file: str, network: "nn.Module") -> "nn.Module":
        from safetensors.torch import load_file

        network.load_state_dict(load_file(self.dir / file))
        return network.eval().requires_grad_(False)

    def golden(self) -> Golden:
        """The golden pictures. Raises UserError when they do not fit."""
        return read_golden(self.dir / GOLDEN, self.method.request, self.card.image_size, len(self.card.expressions))

    def samples(self) -> Samples | None:
        """The sample faces of the page; None of a bundle without. Raises UserError when they do not fit."""
        if SAMPLES not in self.card.files:
            return None
        return read_samples(self.dir / SAMPLES, self.card.image_size, self.card.expressions)

    def results(self) -> dict[str, Results]:
        """The per-face test results by row name."""
        return read_results(self.dir / RESULTS)


def write_bundle(
    out: Path,
    *,
    generator: "Network",
    encoder: "CompactEncoder",
    check: "ExpressionCheck",
    faces_png: bytes,
    results: Iterable[Mapping[str, Any]],
    method: str,
    expressions: Sequence[str],
    natural: "NaturalCheck | None" = None,
    samples: Samples | None = None,
    extras: Extras = NONE,
    **told: Any,
) -> Bundle:
    """Write the folder `out`, replacing a bundle that stands there, and read it back checked.

    encoder, check, natural: the endpoint's self-check networks. results: entries with the columns of results.csv.
    extras: see `Method.fit_extras`. told: the fields of the card that do not follow from these: config, metrics,
    evaluation, data, run_id, self_check, and eyes where there are any. The model card is written from the card, the
    golden pictures by the generator. The same weights give the same sha256. Raises UserError when `out` is something
    else, the generator gives no numbers, or the disk refuses.
    """
    from safetensors.torch import save
    from torch import nn

    from visage.registry.model_card import model_card

    if out.exists() and not (out / CARD).is_file():
        raise UserError(f"{out}: is there already and is no bundle; give another folder or remove it.")
    contents = {
        GENERATOR: save(weights_of(generator)),
        CHECK: save(weights_of(nn.ModuleDict({"encoder": encoder, "check": check}))),
        FACES: faces_png,
        RESULTS: write_results(results),
        GOLDEN: golden_file(make_golden(generator, method_of(method).request, expressions)),
        **{file: save(weights_of(network)) for file, network in extras.items()},
    }
    if natural is not None:
        contents[NATURAL] = save(weights_of(natural))
    if samples is not None:
        contents[SAMPLES] = samples_file(samples)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    card = Card.model_validate(
        {
            "method": method,
            "image_size": generator.size,
            "expressions": expressions,
            "architecture": {
                "generator": generator.architecture(),
                "encoder": encoder.architecture(),
                "check": check.architecture(),
            },
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "sha256": hashes[GENERATOR],
            "files": hashes | {MODEL_CARD: ""},
            **told,
        }
    )
    contents[MODEL_CARD] = model_card(card).encode()
    hashes[MODEL_CARD] = hashlib.sha256(contents[MODEL_CARD]).hexdigest()
    card = card.model_copy(update={"files": hashes})
    contents[CARD] = card.to_json().encode()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            for name, content in contents.items():
                (part / name).write_bytes(content)
            part.chmod(0o755)
            checked = read_bundle(part)
            replace_folder(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{out}: the bundle cannot be written ({error}); free space or mend permissions.") from None
    return replace(checked, dir=out)


def read_bundle(folder: Path, facts: ModelFacts | None = None) -> Bundle:
    """The bundle in `folder`, checked: files, format, hashes, and the weights' names and shapes.

    facts: what the registry knows of it. Raises UserError naming the file and the mend.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder of a bundle; give one, or a model as name@alias or name/version.")
    if not (folder / CARD).is_file():
        raise UserError(f"{folder}: is no bundle, as it has no {CARD}; give a folder that holds one.")
    card = read_card(folder)
    for name, expected in card.files.items():
        try:
            with (folder / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            raise UserError(f"{folder}: {name} is missing; {MEND}.") from None
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error}); mend its permissions.") from None
        if found != expected:
            raise UserError(f"{folder / name}: its sha256 {found[:12]}... is not {expected[:12]}... of {CARD}; {MEND}.")
    check_weights(folder, card)
    read_results(folder / RESULTS)
    return Bundle(folder, card, facts or ModelFacts(f"visage-{card.method}", None, None, card.run_id))
