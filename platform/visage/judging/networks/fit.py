"""Training of the check: one fixed schedule, and the same faces in the same order for a seed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from visage.faces.faceset import FaceSet
from visage.judging.networks.augment import augment
from visage.models.judges import ExpressionCheck
from visage.models.pixels import as_input
from visage.models.precision import autocast

BATCH = 32
RATE = 2e-3
DECAY = 0.05
Tick = Callable[[int, int], None]


def fit_check(
    network: ExpressionCheck, faces: Tensor, expression: Tensor, images: int, seed: int, tick: Tick | None = None
) -> ExpressionCheck:
    """Train `network` to read the expression; returns it, in eval mode.

    faces: uint8 N,3,S,S. expression: N, 0 to K - 1. Every expression is drawn equally often. tick(step, steps)
    follows each step.
    """
    network.to(faces.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    kinds = [np.flatnonzero(expression.numpy() == kind) for kind in np.unique(expression.numpy())]
    steps = images // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, pct_start=0.15)
    order = np.random.default_rng(seed)
    changes = torch.Generator(faces.device).manual_seed(seed)
    with seeded(seed):  # dropout knows the global state only
        for step in range(steps):
            indexes = [int(order.choice(kinds[kind])) for kind in order.integers(len(kinds), size=BATCH)]
            batch = augment(as_input(faces[indexes]), changes, erase=False)
            with autocast(faces.device):
                logits = network.logits(batch.contiguous(memory_format=torch.channels_last))
            value = F.cross_entropy(logits, expression[indexes].to(logits.device))
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            schedule.step()
            if tick:
                tick(step + 1, steps)
    return network.eval()


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
