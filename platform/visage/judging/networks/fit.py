"""Training of the checks: one fixed schedule, and the same faces in the same order for a seed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.faces.faceset import FaceSet
from visage.judging.networks.augment import augment
from visage.models.judges import ExpressionCheck
from visage.models.pixels import as_input
from visage.models.precision import autocast

BATCH = 32
RATE, DECAY = 2e-3, 0.05
Tick = Callable[[int, int], None]


def fit_check(
    network: ExpressionCheck, faces: Tensor, expression: Tensor, images: int, seed: int, tick: Tick | None = None
) -> ExpressionCheck:
    """Train `network` to read the expression; returns it, in eval mode.

    faces: uint8 N,3,S,S. expression: N, 0 to K - 1. Every expression is drawn equally often. tick(step, steps)
    follows each step.
    """
    network.to(faces.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    kinds = [np.flatnonzero(expression.numpy() == kind) for kind in np.unique(expression.numpy())]
    order = np.random.default_rng(seed)
    changes = torch.Generator(faces.device).manual_seed(seed)

    def loss() -> Tensor:
        indexes = [int(order.choice(kinds[kind])) for kind in order.integers(len(kinds), size=BATCH)]
        batch = augment(as_input(faces[indexes]), changes, erase=False)
        with autocast(faces.device):
            logits = network.logits(batch.contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits, expression[indexes].to(logits.device))

    with seeded(seed):  # dropout knows the global state only
        descend(network, loss, images // BATCH, RATE, tick)
    return network


def descend(network: nn.Module, loss: Callable[[], Tensor], steps: int, rate: float, tick: Tick | None = None) -> None:
    """Train a network, which is then in eval mode. loss: that of the next batch. rate: the highest; it rises for a
    while and falls to nothing. tick(step, steps) follows each step."""
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps + 1, pct_start=0.15)
    for step in range(steps):
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        schedule.step()
        if tick:
            tick(step + 1, steps)
    network.eval()


def real_inputs(faces: FaceSet, pictures: np.ndarray, device: str | torch.device) -> Tensor:
    """Real faces of a set, by their indexes, as networks want them: N,3,S,S in [-1, 1]."""
    # A memory map is read in its own order; fancy indexing copies what is asked.
    picked = torch.from_numpy(np.ascontiguousarray(faces.faces[pictures])).to(device)
    return as_input(picked.permute(0, 3, 1, 2)).contiguous()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The CPU's global random state set to `seed`, and as it was afterwards; a GPU's is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
