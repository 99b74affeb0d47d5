"""Whether a run still learns: values that are not finite end it, a discriminator that gave up is told of."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from visage.config.method import Loss
from visage.training.progress import Diverged

# What each form of D's loss comes to on real and generated faces when D says the same of all: logits 0, or 0.5 (LSGAN).
INDIFFERENT = {"log": 2 * math.log(2), "hinge": 2.0, "least_squares": 0.5}
WON = 0.01  # of that: below it D has nothing left to learn
SILENT = 1e-6  # norm of D's gradient in a face; healthy runs have 0.01 to 10
POINTS = 3  # points of a window that all must agree


def check_networks(networks: Mapping[str, Sequence[Tensor]], losses: Mapping[str, float], images: int) -> None:
    """Raise Diverged when a value is not finite.

    networks: each one's weights and second moments. Adam spoils for good what a bad gradient reaches, so that this may
    be asked now and then. losses: the parts' means, to name the one that broke, as far as they are known.
    """
    bad = [name for name, weights in networks.items() if not torch.nn.utils.get_total_norm(weights).isfinite().item()]
    if not bad:
        return
    broken = [f"loss {name} = {value}" for name, value in losses.items() if not math.isfinite(value)]
    what = broken[0] if broken else f"the {bad[0]}'s weights or gradients are not finite"
    raise Diverged(f"{what} after {images} images: the run diverged; lower optim.rate or the loss weights.")


def discriminator_warning(points: Sequence[Mapping[str, float]], loss: Loss, images: int) -> str | None:
    """One sentence when the discriminator collapsed in the window, else None.

    points: the losses and gradients of a window, from one evaluation to the next. It collapsed when over the whole
    window its answer does not depend on the face (no gradient reaches the generator), or when it tells all real from
    all generated faces with a loss of nearly nothing. It is a warning and no end of the run: the other parts of the
    loss go on teaching the generator, and the judges say what that is worth.
    """
    critic = loss.critic
    if len(points) < POINTS or not critic or not critic.weight or any("d_real" not in point for point in points):
        return None  # there is none, or it begins within the window
    if all(point.get("gradient/adversarial", math.inf) / critic.weight < SILENT for point in points):
        fault = "the discriminator gives every face the same answer and teaches the generator nothing"
    elif all(point["d_real"] + point["d_fake"] < WON * INDIFFERENT[critic.form] for point in points):
        fault = "the discriminator tells every real face from every generated one and has stopped learning"
    else:
        return None
    return (
        f"{images} images: {fault}; lower optim.rate, or choose another loss.adversarial.form or a narrower "
        "method.discriminator_width."
    )
