"""Training of the encoder and the check: one fixed schedule, and the same faces in the same order for a seed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visage.judging.augment import augment
from visage.models.precision import autocast

BATCH = 32
RATE = 2e-3
DECAY = 0.05
PEOPLE = 32  # in a batch of pairs: each face is told from 62 others
TEMPERATURE = 0.1
Tick = Callable[[int, int], None]


def fit_identity(
    network: nn.Module, faces: Tensor, people: Tensor, images: int, seed: int, tick: Tick | None = None
) -> nn.Module:
    """Train `network` to map pictures of one person to one direction; returns it, in eval mode.

    network: N,3,S,S in [-1, 1] -> N,128 unit vectors. faces: uint8 N,3,S,S. people: N, whose face it is, 0 to P - 1.
    Each batch holds two pictures of each of some people, with two expressions where they have them, and each picture
    must find its partner among all (normalised temperature-scaled cross entropy). tick(step, steps) follows each step.
    """
    own = [np.flatnonzero(people.numpy() == person) for person in range(int(people.max()) + 1)]
    _centre(network, as_input(faces[:: max(1, len(faces) // 256)]))

    def draw(random: np.random.Generator) -> list[int]:
        drawn: list[int] = []
        for person in random.permutation(len(own))[:PEOPLE]:
            drawn += random.choice(own[person], 2, replace=len(own[person]) < 2).tolist()
        return drawn

    def loss(vectors: Tensor, indexes: list[int]) -> Tensor:
        cosine = (vectors @ vectors.T / TEMPERATURE).fill_diagonal_(-torch.inf)
        return F.cross_entropy(cosine, torch.arange(len(vectors), device=vectors.device) ^ 1)

    return _fit(network, network, faces, draw, loss, images // (2 * PEOPLE), seed, tick, erase=True)


@torch.no_grad()
def _centre(network: nn.Module, faces: Tensor) -> None:
    """Set the head so that its outputs are 0 in the mean: before that, all faces point the same way."""
    seen: list[Tensor] = []
    hook = network.head.register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore[union-attr]
    network.to(faces.device).eval()(faces)
    hook.remove()
    network.head.bias -= seen[0].float().mean(0)  # type: ignore[operator, union-attr]


def fit_expression(
    network: nn.Module, faces: Tensor, expression: Tensor, images: int, seed: int, tick: Tick | None = None
) -> nn.Module:
    """Train `network`, whose `logits` are N,K, to read the expression; returns it, in eval mode.

    faces: uint8 N,3,S,S. expression: N, 0 to K - 1. Every expression is drawn equally often.
    """
    kinds = [np.flatnonzero(expression.numpy() == kind) for kind in np.unique(expression.numpy())]

    def draw(random: np.random.Generator) -> list[int]:
        return [int(random.choice(kinds[kind])) for kind in random.integers(len(kinds), size=BATCH)]

    def loss(logits: Tensor, indexes: list[int]) -> Tensor:
        return F.cross_entropy(logits, expression[indexes].to(logits.device))

    return _fit(network, network.logits, faces, draw, loss, images // BATCH, seed, tick, erase=False)  # type: ignore[arg-type]


def as_input(faces: Tensor) -> Tensor:
    """uint8 0..255 as float32 in [-1, 1]."""
    return faces.float() / 127.5 - 1


def _fit(
    network: nn.Module,
    forward: Callable[[Tensor], Tensor],
    faces: Tensor,
    draw: Callable[[np.random.Generator], list[int]],
    loss: Callable[[Tensor, list[int]], Tensor],
    steps: int,
    seed: int,
    tick: Tick | None,
    erase: bool,
) -> nn.Module:
    network.to(faces.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1, pct_start=0.15)
    order = np.random.default_rng(seed)
    changes = torch.Generator(faces.device).manual_seed(seed)
    with seeded(seed):  # dropout knows the global state only
        for step in range(steps):
            indexes = draw(order)
            batch = augment(as_input(faces[indexes]), changes, erase=erase)
            with autocast(faces.device):
                output = forward(batch.contiguous(memory_format=torch.channels_last))
            value = loss(output, indexes)
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            optimiser.step()
            schedule.step()
            if tick:
                tick(step + 1, steps)
    return network.eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global random state set to `seed`, and as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
