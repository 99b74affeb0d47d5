"""What a method is: all that the house asks of one. A method is a folder with a `Method`, and a line in `METHODS`.

Faces are N,3,S,S in [-1, 1] where nothing else is said. Members import what is heavy themselves, as `visage --help`
reads the sections of every method.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from visage.config.method import Loss, Networks
from visage.errors import UserError
from visage.methods.requests import Request

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor, nn

    from visage.config import Experiment
    from visage.config.experiment import Judge
    from visage.faces.faceset import FaceSet
    from visage.judging.judges import Generator, Judges
    from visage.judging.networks.train import FaceNetworks
    from visage.judging.results import Evaluation
    from visage.judging.sheet import Sheet
    from visage.methods.losses import Parts
    from visage.models.generator import Network
    from visage.registry.bundle import Bundle

Extras = Mapping[str, "nn.Module"]
NONE: Extras = MappingProxyType({})


class Training(ABC):
    """The networks of one run, and what each pays on a batch. A term whose weight is 0 is not computed.

    asking: the terms of the loss that ask the discriminator. loss: what is paid now; the loop sets it. generator: what
    is averaged, kept and served. trained: what makes everything of a batch that the losses need; its weights are the
    generator's. discriminator: None for a method without one. embedding: of identities, held still; None for a loss
    that asks none.
    """

    asking: ClassVar[tuple[str, ...]] = ()
    loss: Loss
    generator: "Network"
    trained: "nn.Module"
    discriminator: "nn.Module | None" = None
    embedding: "nn.Module | None" = None

    @abstractmethod
    def generate(self, trained: "nn.Module", batch: Any) -> Any:
        """What is made of a batch of `Method.batches`. trained: self.trained or its data-parallel wrapper."""

    @abstractmethod
    def for_generator(self, batch: Any, generated: Any) -> "tuple[Tensor, Parts]":
        """What the generator pays, a scalar, and its parts before weighting, each named as its section of the loss."""

    def pixels(self, generated: Any) -> "Tensor":
        """The generated faces, by whose gradients the parts of the loss are compared."""
        return generated

    @property
    def adversarial(self) -> bool:
        """Whether a term of the loss asks the discriminator, so that it is to be trained."""
        return any(getattr(self.loss, term).weight for term in self.asking)

    def for_discriminator(self, discriminator: "nn.Module", batch: Any, generated: Any) -> "tuple[Tensor, Parts]":
        """What the discriminator pays, a scalar, and its parts. Asked for only where `adversarial` is true.
        discriminator: self.discriminator or its data-parallel wrapper."""
        raise NotImplementedError


class Batches(ABC):
    """Batch by batch of a run's training tuples on a device; a tuple is drawn by its index alone. `draw` is what
    another thread may do ahead of its step, `made` is the step's. A batch has `face`, its inputs."""

    device: "torch.device"

    @abstractmethod
    def draw(self, first: int, count: int) -> Any:
        """The tuples first .. first + count - 1, before they are on the device."""

    @abstractmethod
    def made(self, drawn: Any) -> Any:
        """The batch of drawn tuples."""

    def at(self, first: int, count: int) -> Any:
        """Both."""
        return self.made(self.draw(first, count))


@dataclass(frozen=True)
class Validation:
    """The validation people, as a run looks at them: the same requests of a generator at every evaluation.

    metrics: by their names, without intervals; `score` among them. sheet: some of the people, and what is made of them.
    """

    metrics: "Callable[[Generator], dict[str, float]]"
    sheet: "Callable[[Generator], Sheet]"


@dataclass(frozen=True)
class Edited:
    """Faces uint8 N,S,S,3; of each, where it was asked for, the cosine of its identity to the input's (-1..1), the
    probability of its expression (0..1) and how natural its mouth is (0..1); NaN elsewhere. units: float32 N,U, the
    action units (0..1) that the model reads in each driver's face, where it reads any."""

    faces: "np.ndarray"
    similarity: "np.ndarray"
    confidence: "np.ndarray"
    natural: "np.ndarray"
    units: "np.ndarray | None" = None

    def take(self, part: slice) -> "Edited":
        """Some of them."""
        units = None if self.units is None else self.units[part]
        return Edited(self.faces[part], self.similarity[part], self.confidence[part], self.natural[part], units)


class Editor(ABC):
    """A bundle's networks, ready to answer. One for each thread.

    request: the kind that it answers. size: side S of the faces. expressions: K names. action_units: FACS numbers of
    those that can be asked for in place of a driver. run(faces, source, check=None, **columns): one forward pass.
    faces: uint8 M,S,S,3. source: N places of faces; columns: as of the request, N values each. check: N bools, which
    answers get self-check values.
    """

    request: ClassVar[Request]
    size: int
    expressions: tuple[str, ...]
    action_units: tuple[int, ...] = ()
    run: Callable[..., Edited]

    def asked(self, units: Mapping[int, float]) -> "np.ndarray":
        """Action units by their FACS numbers, 0 to 1, as the column `units` of a driver's request: float32 U, NaN for
        those that stay. Raises UserError for what the model does not know, and for an intensity out of range."""
        raise UserError("action units: the model cannot be told any; give a driver's picture.")

    @abstractmethod
    def warm_up(self, count: int) -> None:
        """One pass of `count` faces."""


@dataclass(frozen=True)
class Measured:
    """How the single results of an evaluation are to be read.

    probability: the metric that `FaceResult.probability` holds. floors: the rows that need no network, which a model
    must beat in score. wrong: where `copy` is the same person with the wrong expression, the row of a
    wrong person with the right one; see `gate.trivial_answers`.
    remeasured: results without the floors are of an older Visage, and were measured another way.
    """

    probability: Literal["expression_probability", "au_agreement"]
    floors: tuple[str, ...]
    wrong: str
    remeasured: bool = False


class Method(ABC):
    """A method, as trainer, judging, registry and endpoint know it. It holds nothing: one instance is all there is.

    request: the kind of request that its generator answers. Networks, Loss: the sections `method` and `loss` of its
    experiments. paper: what it is from. measured: see `Measured`.
    """

    request: ClassVar[Request]
    Networks: ClassVar[type[Networks]]
    Loss: ClassVar[type[Loss]]
    paper: ClassVar[str]
    measured: ClassVar[Measured]

    @abstractmethod
    def build(self, experiment: "Experiment", faces: "FaceSet", networks: "FaceNetworks") -> Training:
        """The networks of a run, on the CPU, with random weights. networks: of the face set, whose encoder is the
        embedding `compact` and whose reader knows expressions; its judges are not for a loss."""

    @abstractmethod
    def generator_of(self, architecture: Mapping[str, Any]) -> "Network":
        """The generator, untrained, of which this is the `architecture()`: what a checkpoint and a bundle hold. Raises
        ValueError for one that is none of the method's, as a bundle may be anybody's."""

    @abstractmethod
    def batches(self, faces: "FaceSet", experiment: "Experiment", device: "torch.device") -> Batches:
        """What `Training` learns from."""

    @abstractmethod
    def validation(self, experiment: "Experiment", judges: "Judges") -> Validation:
        """The validation people, looked at during a run. judges: of that part. Raises UserError for what the
        experiment asks and the method has not."""

    @abstractmethod
    def evaluate(
        self, generator: Any, faces: "FaceSet", networks: "FaceNetworks", judge: "Judge", *,
        device: "str | torch.device" = "cpu", extras: Extras = NONE, inception: Path | None = None,
        beside: "Generator | None" = None,
    ) -> "Evaluation":  # fmt: skip
        """A generator judged on the test people; row `model` is its own. extras: as `fit_extras` gives them.
        inception: weights for FID. beside: another generator, of expressions by name, as a further row. Raises
        UserError for what the method has not, and JudgesRefused when a judge is no better than chance."""

    @abstractmethod
    def sheets(
        self, generator: "Generator", faces: "FaceSet", part: str, extras: Extras = NONE
    ) -> "Iterator[tuple[str, Sheet]]":
        """Sheets of what it makes, for people to look at, by file name. The first is faces.png, the one that a bundle
        holds."""

    @abstractmethod
    def editor(self, bundle: "Bundle", *, self_check: bool = False, device: str = "cpu") -> Editor:
        """The bundle's networks, ready to answer. self_check: with values of the answers, where they are asked for."""

    @abstractmethod
    def takes(self, files: Collection[str]) -> str:
        """The end of the model card's sentence "Takes an aligned face of S x S pixels". files: of the bundle."""

    @abstractmethod
    def explain(self, evaluation: "Evaluation") -> str:
        """How the model card's table is to be read: sentences."""

    def fit_extras(self, generator: Any, faces: "FaceSet") -> Extras:
        """What else a bundle carries beside a trained generator, by the name of its file: networks in eval mode."""
        return {}

    def extras_of(self, generator: Any) -> Extras:
        """The same, untrained. A bundle may be without them, as one that an older Visage wrote."""
        return {}
