"""UC-GAN: a U-Net with a category condition, a discriminator that sees other people's faces too, a triplet loss."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from visage.methods.base import Batches, Training
from visage.methods.by_expression import MethodByExpression
from visage.methods.ucgan.config import Loss, Networks

if TYPE_CHECKING:
    import torch

    from visage.config import Experiment
    from visage.faces.faceset import FaceSet
    from visage.judging.networks.train import FaceNetworks
    from visage.models.generator import Network


class UcGan(MethodByExpression):
    Networks, Loss = Networks, Loss
    paper = "UC-GAN (Wang, Wang, Li: ACM TOMM 15(3s) 88, 2019, doi 10.1145/3355397)"

    def build(self, experiment: "Experiment", faces: "FaceSet", networks: "FaceNetworks") -> Training:
        from visage.methods.ucgan.likeness import loss_embedding
        from visage.methods.ucgan.losses import UCGAN

        method, loss = experiment.method, experiment.loss
        assert isinstance(method, Networks)
        assert isinstance(loss, Loss)
        embedding = loss_embedding(loss.triplet.embedding, faces, experiment.judge, networks.encoder)
        return UCGAN(method, loss, faces.size, len(faces.expressions), embedding, networks.reader)

    def batches(self, faces: "FaceSet", experiment: "Experiment", device: "torch.device") -> Batches:
        from visage.methods.by_expression.batches import NamedBatches
        from visage.methods.ucgan.likeness import likeness

        assert isinstance(experiment.loss, Loss)
        return NamedBatches(faces, experiment.train, device, likeness(experiment.loss, faces, experiment.judge))

    def generator_of(self, architecture: Mapping[str, Any]) -> "Network":
        from visage.models.basis import BasisGenerator
        from visage.models.generator import build_generator
        from visage.models.unet import UNet

        return build_generator(architecture, {"basis": BasisGenerator, "unet": UNet})


METHOD = UcGan()
