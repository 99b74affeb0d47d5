"""The model that a replica answers with: fetched, checked and warmed up there, or the reason why there is none."""

import logging
import re
import threading
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from visage.config import Serving
from visage.editing import Editor, View
from visage.errors import UserError
from visage.faces.provenance import xmp_packet
from visage.registry.bundle import ModelFacts

RETRY_SECONDS = 5.0
logger = logging.getLogger(__name__)


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


def load(serving: Serving) -> Model:
    """Fetch the configured model, load it and run it once for every batch size. Raises UserError."""
    import torch

    from visage.registry.models import Registry

    bundle = Registry(serving.tracking_uri).fetch(serving.model)
    device = "cuda" if serving.replicas.num_gpus > 0 and torch.cuda.is_available() else "cpu"
    editor = Editor(bundle, self_check=serving.self_check, device=device)
    warm_up(editor, serving.batching.size)
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


class Holder:
    """Holds the model of a replica. While there is none, it tries again every few seconds, in the background."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.model: Model | None = None
        self.fault = "The model is being loaded; try again in a moment."
        if not self._attempt():
            threading.Thread(target=self._retry, name="load-model", daemon=True).start()

    def _attempt(self) -> bool:
        try:
            self.model = load(self._serving)
        except UserError as error:
            self.fault = self._public(str(error))
            logger.warning("No model to answer with: %s", error)
            return False
        except Exception:
            # The reason may hold paths and addresses, so it goes into the log alone.
            self.fault = f"{self._serving.model}: could not be loaded; the replica's log says why."
            logger.exception("No model to answer with")
            return False
        return True

    def _public(self, sentence: str) -> str:
        """A fault of the registry without its address, which may hold a password, and without folders."""
        sentence = sentence.replace(self._serving.tracking_uri, "the registry")
        return re.sub(r"\S*/cache/", "", sentence)

    def _retry(self) -> None:
        while self.model is None:
            time.sleep(RETRY_SECONDS)
            self._attempt()
