"""A U-Net that learns by the distance to the true face alone: what a GAN is to be better than."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from visage.methods.base import Training
from visage.methods.by_expression import MethodByExpression
from visage.methods.plain.config import Loss, Networks

if TYPE_CHECKING:
    from visage.config import Experiment
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks
    from visage.models.generator import Network


class Plain(MethodByExpression):
    Networks, Loss = Networks, Loss
    paper = "a plain U-Net on the L1 distance, of no paper"

    def build(self, experiment: "Experiment", faces: "FaceSet", networks: "FaceNetworks") -> Training:
        from visage.methods.plain.losses import PlainTraining

        return PlainTraining(experiment.method, experiment.loss, faces.size, len(faces.expressions))

    def generator_of(self, architecture: Mapping[str, Any]) -> "Network":
        from visage.models.generator import build_generator
        from visage.models.unet import UNet

        return build_generator(architecture, {"unet": UNet})


METHOD = Plain()
