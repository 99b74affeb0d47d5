"""The model that a replica answers with: fetched, checked and warmed up there, or the reason why there is none."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from visage.config import Serving
from visage.editing import Editor, View
from visage.errors import UserError
from visage.faces.provenance import xmp_packet
from visage.registry.bundle import Bundle, ModelFacts

if TYPE_CHECKING:
    from visage.registry.models import Registry

# Mean difference of served faces from those of the plain network, in levels of 255.
LEVELS = 2.0


@dataclass(frozen=True)
class Model:
    """A loaded model: what /v1/model says of it, and its networks."""

    editor: Editor
    facts: ModelFacts
    loaded_at: str

    def reference(self) -> dict[str, Any]:
        """What names the model in an answer."""
        return asdict(self.facts)

    def xmp(self, view: View) -> str:
        """The provenance that a picture of this model carries."""
        return xmp_packet(self.facts.name, self.facts.version, self.facts.run_id, view)

    def description(self) -> dict[str, Any]:
        return {
            **self.reference(),
            "expressions": list(self.editor.expressions),
            "image_size": self.editor.size,
            "loaded_at": self.loaded_at,
        }


def load(serving: Serving, registry: "Registry") -> Model:
    """Fetch the configured model, check and load it, run it once for every batch size, and compare its golden picture.

    Raises UserError.
    """
    import torch

    bundle = registry.fetch(serving.model)
    device = "cuda" if serving.replicas.num_gpus > 0 and torch.cuda.is_available() else "cpu"
    editor = Editor(bundle, self_check=serving.self_check, device=device)
    warm_up(editor, serving.batching.size)
    compare_golden(editor, bundle)
    return Model(
        editor,
        facts=bundle.facts,
        loaded_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def warm_up(editor: Editor, largest: int) -> None:
    """One pass of every batch size up to `largest`: the first pass of a shape chooses and compiles its kernels."""
    for count in range(1, largest + 1):
        faces = np.full((count, editor.size, editor.size, 3), 127, np.uint8)
        editor.run(faces, range(count), [0] * count, [1.0] * count, [True] * count)


def compare_golden(editor: Editor, bundle: Bundle) -> None:
    """One picture with every expression, as it is served and by the bundle's plain float32 network on the CPU. Raises
    UserError where they differ, and for a network that does not give numbers.
    """
    import torch

    from visage.models.condition import conditions

    count, model = len(editor.expressions), f"{bundle.facts.name}/{bundle.facts.version}"
    rows, columns = np.mgrid[: editor.size, : editor.size] * (255 / (editor.size - 1))
    face = np.stack([rows, columns, 255 - (rows + columns) / 2], axis=2).astype(np.uint8)
    served = editor.run(face[None], [0] * count, range(count), [1.0] * count).faces
    pixels = torch.from_numpy(face).permute(2, 0, 1).float().div(127.5).sub(1).expand(count, -1, -1, -1)
    with torch.inference_mode():
        plain = bundle.generator()(pixels, conditions(editor.expressions, torch.arange(count)))
    if not bool(torch.isfinite(plain).all()):
        raise UserError(f"{model}: its network gives no numbers for the golden picture; register another version.")
    exact = plain.clamp(-1, 1).add(1).mul(127.5).permute(0, 2, 3, 1).numpy()
    levels = float(np.abs(served - exact).mean())
    if levels > LEVELS:
        raise UserError(
            f"{model}: its golden picture differs by {levels:.1f} levels of 255 from that of its plain network, and "
            f"{LEVELS:g} are allowed; register another version."
        )
