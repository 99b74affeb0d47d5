"""The sections `method` and `loss` of UC-GAN. What is marked (extension) is not in the paper, and off by default."""

from typing import Any, Literal

from pydantic import Field, model_validator

from visage.config.data import Section
from visage.config.method import Adversarial, Extension, FaceSynthesis, Triplet, Weight
from visage.config.method import Loss as AnyLoss


class Networks(FaceSynthesis):
    """The networks. A basis is here a set of maps for each expression."""

    name: Literal["ucgan"] = "ucgan"
    exaggeration: float = Field(
        1.0,
        ge=1,
        le=3,
        description="(extension) with basis: how many times the change that was learnt a trained generator makes",
    )

    @model_validator(mode="after")
    def _exaggeration(self) -> "Networks":
        if self.exaggeration != 1 and not self.basis:
            raise ValueError("exaggeration is of what the basis makes; set basis: true, or leave it out")
        return self


class Pairing(Section):
    """Other-identity pairs in the discriminator: -log(1 - D(x_j, g | c))."""

    weight: Weight = 0.5


class Pixel(Section):
    weight: Weight = 100.0
    change: Weight = Field(0.0, description="(extension) weighs each pixel by 1 + change * |target - input|")


class FeatureMatching(Extension):
    """(extension) L1 distance of the discriminator's features of the real and the generated face."""


class WrongInput(Extension):
    """(extension, GAN-CLS) the real face with another person's input: -log(1 - D(x_j, y | c))."""


class Classification(Extension):
    """(extension, AC-GAN) a head of the discriminator reads the expression; the generator pays for it too."""


class Perceptual(Extension):
    """(extension) L1 distance of the features of `triplet.embedding` for the real and the generated face."""


class Smoothness(Extension):
    """(extension) with method.basis: how unlike the flow of its maps is from one pixel to the next."""


class Loss(AnyLoss):
    adversarial: Adversarial = Adversarial()
    pairing: Pairing = Pairing()
    pixel: Pixel = Pixel()
    triplet: Triplet = Triplet()
    feature_matching: FeatureMatching = FeatureMatching()
    wrong_input: WrongInput = WrongInput()
    classification: Classification = Classification()
    perceptual: Perceptual = Perceptual()
    smoothness: Smoothness = Smoothness()
    hardest: int = Field(
        1, ge=1, description="of so many other people the one most like the target by triplet.embedding is taken"
    )

    @model_validator(mode="after")
    def _likeness(self) -> "Loss":
        if self.hardest > 1 and self.triplet.embedding == "compact":
            raise ValueError(
                f"hardest = {self.hardest} asks who is like whom, and triplet.embedding = compact was fitted to tell "
                "these very people apart; set that to crossed, or to an embedding from outside"
            )
        return self

    def check(self, networks: Any) -> None:
        if self.smoothness.weight and not networks.basis:
            raise ValueError("loss.smoothness is of the flow of method.basis; set that, or remove it")
