"""The plain method's one network and what it pays."""

from torch import Tensor, nn

from visage.methods.base import Training
from visage.methods.by_expression.batches import Batch
from visage.methods.losses import Parts, total
from visage.methods.plain.config import Loss, Networks
from visage.models.unet import UNet


class PlainTraining(Training):
    loss: Loss

    def __init__(self, method: Networks, loss: Loss, size: int, conditions: int) -> None:
        self.loss = loss
        self.generator = UNet(size, method.width, conditions)
        self.trained = self.generator

    def generate(self, trained: nn.Module, batch: Batch) -> Tensor:
        return trained(batch.face, batch.condition)

    def for_generator(self, batch: Batch, generated: Tensor) -> tuple[Tensor, Parts]:
        parts = {"distance": (generated - batch.target).abs().mean()}
        return total(parts, self.loss), parts
