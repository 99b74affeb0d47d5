"""The networks and the losses of the two methods."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from visage.config.data import Section

Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
MethodName = Literal["ucgan", "eft"]


class Method(Section):
    """The networks. Fields marked (extension) are not in the published method and are off by default."""

    name: MethodName = "ucgan"
    width: int = Field(32, ge=8, le=128, multiple_of=8, description="channels of the generator's first level")
    discriminator_width: int = Field(32, ge=8, le=128, multiple_of=8)
    related: int = Field(32, ge=4, le=512, description="eft: numbers of the AU-related feature")
    taught: float = Field(
        1.0,
        ge=0,
        le=1,
        description="(extension) eft: how much of the gradient of faces reaches the AU-related encoder; with 0 only "
        "action units teach it",
    )
    mask: bool = Field(False, description="(extension) blend the output over the input by a learned mask")
    warp: bool = Field(False, description="(extension) move the input by a learned smooth flow before blending")

    basis: bool = Field(
        False,
        description="(extension) lay maps of flow and colour that all people share under the network's own; takes the "
        "place of mask and warp. ucgan: a set for each expression. eft: one for each action unit of each side, of "
        "which the AU-related feature then consists; learns by loss.paired",
    )

    exaggeration: float = Field(
        1.0,
        ge=1,
        le=3,
        description="(extension) ucgan with basis: how many times the change that was learnt a trained generator makes",
    )

    @model_validator(mode="after")
    def _basis(self) -> "Method":
        if self.exaggeration != 1 and not self.basis:
            raise ValueError("exaggeration is of what the basis makes; set basis: true, or leave it out")
        if self.basis and (self.mask or self.warp):
            raise ValueError("basis moves and colours the input by itself; leave mask and warp out")
        return self

    @model_validator(mode="after")
    def _warp(self) -> "Method":
        if self.warp and not self.mask:
            raise ValueError("warp shows only where a mask lets the input through; set mask: true")
        return self

    @property
    def paired(self) -> bool:
        """Whether training and judging need people with two expressions."""
        return self.name == "ucgan"


class Adversarial(Section):
    weight: Weight = 1.0
    form: Literal["log", "hinge", "least_squares"] = Field(
        "log", description="(extension) hinge, least_squares; log is the paper's reading, least_squares that of eft"
    )
    start: Share = Field(
        0.0,
        description="(extension) share of the run before which there is no discriminator: its own loss, feature "
        "matching and classification begin there too",
    )


class Pairing(Section):
    """Other-identity pairs in the discriminator: -log(1 - D(x_j, g | c))."""

    weight: Weight = 0.5


class Pixel(Section):
    weight: Weight = 100.0
    change: Weight = Field(0.0, description="(extension) weighs each pixel by 1 + change * |target - input|")


class Triplet(Section):
    weight: Weight = 1.0
    margin: float = Field(
        1.0,
        gt=0,
        le=2,
        description="on squared distances of unit vectors, 0..4; FaceNet's 0.2 rarely binds in the compact one",
    )
    embedding: str = Field("compact", description="compact, vggface2, casia-webface, or a path to FaceNet weights")


class FeatureMatching(Section):
    """(extension) L1 distance of the discriminator's features of the real and the generated face."""

    weight: Weight = 0.0


class WrongInput(Section):
    """(extension, GAN-CLS) the real face with another person's input: -log(1 - D(x_j, y | c))."""

    weight: Weight = 0.0


class Classification(Section):
    """(extension, AC-GAN) a head of the discriminator reads the expression; the generator pays for it too."""

    weight: Weight = 0.0


class Perceptual(Section):
    """(extension) L1 distance of the features of `triplet.embedding` for the real and the generated face."""

    weight: Weight = 0.0


class Smoothness(Section):
    """(extension) with ucgan's basis: how unlike the flow of its maps is from one pixel to the next."""

    weight: Weight = 0.0


class ActionUnits(Section):
    """eft: cross-entropy of the action units read from the AU-related feature, of real and of swapped faces."""

    weight: Weight = 1.0
    carried: Weight = Field(1.0, description="times that: of the swapped faces")


class FeatureAdversarial(Section):
    """eft: what the AU-free feature still tells of the class of action units: multi-class adversarial training."""

    weight: Weight = 1.2


class FeaturePaired(Section):
    """(extension) eft with method.basis: how far apart the AU-free features of two pictures of one person are, whatever
    units they show, over how far apart those of people are."""

    weight: Weight = 0.0


class Reconstruction(Section):
    """eft: L1 distance of a face made of its own two features to the face."""

    weight: Weight = 3.0


class CrossCycle(Section):
    """eft: L1 distance of what is swapped twice to the face."""

    weight: Weight = 40.0


class Paired(Section):
    """(extension) eft: L1 distance of another picture of the person, with the expression of a face, to that face.

    The one term that needs people with several expressions; a person's only picture stands for the other one.
    """

    weight: Weight = 0.0
    change: Weight = Field(
        0.0, description="with method.basis: weighs each pixel by 1 + change * |face - other picture|"
    )


class Swap(Section):
    """eft: a discriminator tells swapped faces from reconstructed ones: swap consistency."""

    weight: Weight = 1.0


class Loss(Section):
    """The weights of eft are those of the same author's ADLD, as far as they are known."""

    adversarial: Adversarial = Adversarial()
    pairing: Pairing = Pairing()
    pixel: Pixel = Pixel()
    triplet: Triplet = Triplet()
    feature_matching: FeatureMatching = FeatureMatching()
    wrong_input: WrongInput = WrongInput()
    classification: Classification = Classification()
    perceptual: Perceptual = Perceptual()
    smoothness: Smoothness = Smoothness()
    action_units: ActionUnits = ActionUnits()
    feature_adversarial: FeatureAdversarial = FeatureAdversarial()
    feature_paired: FeaturePaired = FeaturePaired()
    reconstruction: Reconstruction = Reconstruction()
    cross_cycle: CrossCycle = CrossCycle()
    swap: Swap = Swap()
    paired: Paired = Paired()


# The sections of the loss, and fields of the method, that say something about one method alone.
OWN_FIELDS: dict[MethodName, dict[str, tuple[str, ...]]] = {
    "ucgan": {
        "loss": (
            "pairing",
            "pixel",
            "feature_matching",
            "wrong_input",
            "classification",
            "perceptual",
            "smoothness",
        ),
        "method": ("exaggeration",),
    },
    "eft": {
        "loss": (
            "action_units",
            "feature_adversarial",
            "feature_paired",
            "reconstruction",
            "cross_cycle",
            "swap",
            "paired",
        ),
        "method": ("related", "taught"),
    },
}
# What a method takes where nothing else is said.
USUAL: dict[str, dict[str, dict[str, Any]]] = {
    "eft": {"adversarial": {"form": "least_squares"}, "triplet": {"weight": 0.0}}
}


def with_usual(tree: Any) -> Any:
    """An experiment as it is written, with what its method takes where nothing else is said."""
    method = tree.get("method") if isinstance(tree, dict) else None
    usual = USUAL.get(method.get("name", "")) if isinstance(method, dict) else None
    loss = tree.get("loss") or {} if usual else None
    if not usual or not isinstance(loss, dict):
        return tree
    given = {name: loss.get(name) or {} for name in usual}
    return {**tree, "loss": {**loss, **{n: {**usual[n], **own} for n, own in given.items() if isinstance(own, dict)}}}


def check_own_fields(method: Method, loss: Loss) -> None:
    """Raise ValueError for a field that says something about the other method alone.

    By their values, as an experiment that comes back from its record names every field.
    """
    _check_basis(method, loss)
    for name, own in OWN_FIELDS.items():
        for section, fields in own.items() if name != method.name else ():
            given: Section = {"loss": loss, "method": method}[section]
            for field in fields:
                if getattr(given, field) != type(given).model_fields[field].default:
                    raise ValueError(
                        f"{section}.{field} is for method {name}, and the method is {method.name}; remove it"
                    )


# What a basis leaves nothing to: a face under its own units is itself, and pixels are held to the true face.
WITHOUT_BASIS = ("reconstruction", "cross_cycle", "swap", "adversarial")


def _check_basis(method: Method, loss: Loss) -> None:
    if loss.smoothness.weight and not method.basis:
        raise ValueError("loss.smoothness is of the flow of method.basis; set that, or remove it")
    if method.name != "eft":
        return
    if not method.basis:
        if loss.paired.change:
            raise ValueError("loss.paired.change is for method.basis; set that, or remove it")
        if loss.feature_paired.weight:
            raise ValueError("loss.feature_paired is for method.basis; set that, or remove it")
        return
    for name in ("related", "taught"):
        if getattr(method, name) != Method.model_fields[name].default:
            raise ValueError(
                f"method.basis of eft makes the AU-related feature of the units alone; remove method.{name}"
            )
    if not loss.paired.weight:
        raise ValueError("method.basis of eft learns by loss.paired; give it a weight")
    for name in WITHOUT_BASIS:
        if getattr(loss, name).weight:
            raise ValueError(f"method.basis of eft has no use for loss.{name}; set loss.{name}.weight to 0")
