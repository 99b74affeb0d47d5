"""The model that a replica answers with: fetched, checked and warmed up there, or the reason why there is none."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from visage.api.schema import LoadedModel, ModelReference
from visage.config import Serving
from visage.editing.expression import View
from visage.errors import UserError
from visage.faces.provenance import xmp_packet
from visage.methods.base import Editor
from visage.methods.requests import DRIVER, EXPRESSION, Request
from visage.registry.bundle import Bundle, ModelFacts
from visage.registry.card import CHECK
from visage.registry.golden import Golden
from visage.registry.samples import Samples

if TYPE_CHECKING:
    from visage.registry.models import Registry


@dataclass(frozen=True)
class Model:
    """A loaded model: what /v1/model says of it, and its networks. golden: pictures that they must go on making.

    check: sha256 of the self-check's networks. quantiles: of its values at registration. samples: the page's faces.
    """

    editor: Editor
    facts: ModelFacts
    loaded_at: str
    golden: Golden = field(compare=False, repr=False)
    check: str = ""
    samples: Samples | None = field(default=None, compare=False, repr=False)
    quantiles: Mapping[str, Mapping[str, float]] = field(default_factory=dict, hash=False)

    @property
    def label(self) -> str:
        """As in the header Visage-Model: name/version, or the name alone of a model that no registry gave."""
        return self.facts.label

    def reference(self) -> ModelReference:
        """What names the model in an answer."""
        return ModelReference(**asdict(self.facts))

    def xmp(self, view: View) -> str:
        """The provenance that a picture of this model carries."""
        return xmp_packet(self.facts.name, self.facts.version, self.facts.run_id, view)

    def description(self, **more: Any) -> LoadedModel:
        """What /v1/model says of it. more: further fields."""
        units = {"action_units": self.editor.action_units} if self.editor.request is DRIVER else {}
        sampled = {"samples": "averages"} if self.samples else {}
        return LoadedModel(
            **asdict(self.facts),
            expressions=self.editor.expressions,
            image_size=self.editor.size,
            loaded_at=self.loaded_at,
            **units,
            **sampled,
            **more,
        )


def load(serving: Serving, registry: "Registry", request: Request = EXPRESSION) -> Model:
    """Fetch the configured model, check and load it, run it once for every batch size, and compare its golden pictures.

    request: the kind that it must answer. Raises UserError.
    """
    import torch

    bundle = registry.fetch(serving.model)
    device = "cuda" if serving.replicas.num_gpus > 0 and torch.cuda.is_available() else "cpu"
    editor = bundle.editor(request, self_check=serving.self_check, device=device)
    for count in range(1, serving.batching.size + 1):  # the first pass of a shape chooses and compiles its kernels
        editor.warm_up(count)
    golden = compare_golden(editor, bundle)
    return Model(
        editor,
        facts=bundle.facts,
        loaded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        golden=golden,
        quantiles=bundle.card.self_check,
        check=bundle.card.files[CHECK],
        samples=bundle.samples(),
    )


def compare_golden(editor: Editor, bundle: Bundle) -> Golden:
    """The bundle's golden pictures, once they are the same as they are served here. Raises UserError where they differ
    by more than they may."""
    golden = bundle.golden()
    asked: dict[str, Any] = {name: values.tolist() for name, values in golden.asked.items()}
    served = editor.run(golden.faces, golden.source.tolist(), **asked).faces
    levels = golden.difference(served)
    if levels > golden.levels:
        raise UserError(
            f"{bundle.facts.name}/{bundle.facts.version}: a golden picture differs by {levels:.1f} levels of 255, and "
            f"{golden.levels:g} are allowed; register another version, or mend the code that serves it."
        )
    return golden
