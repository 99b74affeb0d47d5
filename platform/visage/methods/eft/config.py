"""The sections `method` and `loss` of EFT. What is marked (extension) is not in the paper, and off by default."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from visage.config.data import Section
from visage.config.method import Adversarial, Extension, FaceSynthesis, Triplet, Weight
from visage.config.method import Loss as AnyLoss


class Networks(FaceSynthesis):
    """The networks. A basis is here one map for each action unit of each side, of which the AU-related feature then
    consists; it learns by loss.paired."""

    paired: ClassVar[bool] = False

    name: Literal["eft"] = "eft"
    related: int = Field(32, ge=4, le=512, description="numbers of the AU-related feature")
    taught: float = Field(
        1.0,
        ge=0,
        le=1,
        description="(extension) how much of the gradient of faces reaches the AU-related encoder; with 0 only action "
        "units teach it",
    )


class LeastSquares(Adversarial):
    """A discriminator tells real faces from swapped ones."""

    form: Literal["log", "hinge", "least_squares"] = Field(
        "least_squares", description="(extension) log, hinge; least_squares is that of the same author's ADLD"
    )


class LaterTriplet(Triplet):
    """The triplet loss on an identity embedding, which the paper is without."""

    weight: Weight = Field(0.0, description="(extension) how much it counts")


class ActionUnits(Section):
    """Cross-entropy of the action units read from the AU-related feature, of real and of swapped faces."""

    weight: Weight = 1.0
    carried: Weight = Field(1.0, description="times that: of the swapped faces")


class FeatureAdversarial(Section):
    """What the AU-free feature still tells of the class of action units: multi-class adversarial training."""

    weight: Weight = 1.2


class FeaturePaired(Extension):
    """(extension) with method.basis: how far apart the AU-free features of two pictures of one person are, whatever
    units they show, over how far apart those of people are."""


class Reconstruction(Section):
    """L1 distance of a face made of its own two features to the face."""

    weight: Weight = 3.0


class CrossCycle(Section):
    """L1 distance of what is swapped twice to the face."""

    weight: Weight = 40.0


class Paired(Section):
    """(extension) L1 distance of another picture of the person, with the expression of a face, to that face.

    The one term that needs people with several expressions; a person's only picture stands for the other one.
    """

    weight: Weight = 0.0
    change: Weight = Field(
        0.0, description="with method.basis: weighs each pixel by 1 + change * |face - other picture|"
    )
    exchanged: bool = Field(
        False,
        description="with method.basis, for drawn faces: half of the results have a driver, another person who shows "
        "exactly the units of the true face, in place of its labels",
    )


class Swap(Section):
    """A discriminator tells swapped faces from reconstructed ones: swap consistency."""

    weight: Weight = 1.0


# What a basis leaves nothing to: a face under its own units is itself, and pixels are held to the true face.
WITHOUT_BASIS = ("reconstruction", "cross_cycle", "swap", "adversarial")


class Loss(AnyLoss):
    """The weights are those of the same author's ADLD, as far as they are known."""

    adversarial: LeastSquares = LeastSquares()
    triplet: LaterTriplet = LaterTriplet()
    action_units: ActionUnits = ActionUnits()
    feature_adversarial: FeatureAdversarial = FeatureAdversarial()
    feature_paired: FeaturePaired = FeaturePaired()
    reconstruction: Reconstruction = Reconstruction()
    cross_cycle: CrossCycle = CrossCycle()
    swap: Swap = Swap()
    paired: Paired = Paired()

    def check(self, networks: Any) -> None:
        if self.triplet.embedding == "crossed":
            raise ValueError("loss.triplet.embedding = crossed is for method ucgan, and the method is eft; remove it")
        if not networks.basis:
            for name in ("change", "exchanged"):
                if getattr(self.paired, name):
                    raise ValueError(f"loss.paired.{name} is for method.basis; set that, or remove it")
            if self.feature_paired.weight:
                raise ValueError("loss.feature_paired is for method.basis; set that, or remove it")
            return
        for name in ("related", "taught"):
            if getattr(networks, name) != Networks.model_fields[name].default:
                raise ValueError(
                    f"method.basis of eft makes the AU-related feature of the units alone; remove method.{name}"
                )
        if not self.paired.weight:
            raise ValueError("method.basis of eft learns by loss.paired; give it a weight")
        for name in WITHOUT_BASIS:
            if getattr(self, name).weight:
                raise ValueError(f"method.basis of eft has no use for loss.{name}; set loss.{name}.weight to 0")
