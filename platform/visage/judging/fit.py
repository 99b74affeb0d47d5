"""Training of the small networks: one fixed schedule, the same faces in the same order for the same seed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.judging.augment import augment
from visage.models.precision import autocast

BATCH = 64
RATE = 2e-3
DECAY = 0.05
# Cosine softmax with a margin (CosFace): the scale of the cosines, and what an own cosine must be ahead.
SCALE = 20.0
MARGIN = 0.25
Tick = Callable[[int, int], None]


def fit_identity(
    network: nn.Module, faces: Tensor, people: Tensor, images: int, seed: int, tick: Tick | None = None
) -> nn.Module:
    """Train `network` to map pictures of one person to one direction; returns it, in eval mode.

    network: N,3,S,S in [-1, 1] -> N,128 unit vectors. faces: uint8 N,3,S,S. people: N, whose face it is, 0 to P - 1.
    Each batch holds pairs of pictures of half as many people. tick(step, steps) is called after each step.
    """
    centres = nn.Parameter(0.05 * torch.randn(int(people.max()) + 1, 128, generator=_generator(seed)))
    own = [np.flatnonzero(people.numpy() == person) for person in range(len(centres))]
    centres = nn.Parameter(centres.detach().to(faces.device))

    def draw(random: np.random.Generator) -> list[int]:
        drawn: list[int] = []
        while len(drawn) < BATCH:
            for person in random.permutation(len(own))[: (BATCH - len(drawn)) // 2]:
                drawn += random.choice(own[person], 2, replace=len(own[person]) < 2).tolist()
        return drawn

    def loss(batch: Tensor, indexes: list[int]) -> Tensor:
        label = people[indexes].to(batch.device)
        cosine = network(batch) @ F.normalize(centres, dim=1).T
        return F.cross_entropy(SCALE * (cosine - MARGIN * F.one_hot(label, len(centres))), label)

    return _fit(network, [centres], faces, draw, loss, images, seed, tick, erase=True)


def fit_expression(
    network: nn.Module, faces: Tensor, expression: Tensor, images: int, seed: int, tick: Tick | None = None
) -> nn.Module:
    """Train `network`, whose `logits` are N,K, to read the expression; returns it, in eval mode.

    faces: uint8 N,3,S,S. expression: N, 0 to K - 1. Every expression is drawn equally often.
    """
    kinds = [np.flatnonzero(expression.numpy() == kind) for kind in np.unique(expression.numpy())]

    def draw(random: np.random.Generator) -> list[int]:
        return [int(random.choice(kinds[kind])) for kind in random.integers(len(kinds), size=BATCH)]

    def loss(batch: Tensor, indexes: list[int]) -> Tensor:
        return F.cross_entropy(network.logits(batch), expression[indexes].to(batch.device))  # type: ignore[operator]

    return _fit(network, [], faces, draw, loss, images, seed, tick, erase=False)


def as_input(faces: Tensor) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1]."""
    return faces.float() / 127.5 - 1


def _fit(
    network: nn.Module,
    more: list[nn.Parameter],
    faces: Tensor,
    draw: Callable[[np.random.Generator], list[int]],
    loss: Callable[[Tensor, list[int]], Tensor],
    images: int,
    seed: int,
    tick: Tick | None,
    erase: bool,
) -> nn.Module:
    steps = max(1, images // BATCH)
    network.to(faces.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    groups = [{"params": list(network.parameters()), "weight_decay": DECAY}, {"params": more, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, pct_start=0.15)
    order = np.random.default_rng(seed)
    changes = _generator(seed, faces.device)
    with _seeded(seed):  # dropout knows the global state only
        for step in range(steps):
            indexes = draw(order)
            batch = augment(as_input(faces[indexes]), changes, erase=erase)
            with autocast(faces.device):
                value = loss(batch.contiguous(memory_format=torch.channels_last), indexes)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            schedule.step()
            if tick:
                tick(step + 1, steps)
    return network.eval()


def _generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
