"""Whether a batch fits: asked before the run on a CPU, where the system would kill the process without a word."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from visage.config.experiment import Train
from visage.errors import UserError
from visage.methods.base import Batches, Training
from visage.models.precision import autocast

GIB = 2**30
LIMIT = Path("/sys/fs/cgroup/memory.max")  # a container's
REFUSED = ("can't allocate memory", "not enough memory")  # what torch's CPU allocator says


class OutOfMemory(UserError):
    """A step of `train.batch` does not fit."""


def check_memory(method: Training, batches: Batches, train: Train, workers: int) -> None:
    """Raise OutOfMemory when a step of `train.batch` cannot fit into this machine's memory.

    Two small steps are run forward and what they keep for the way back is counted. On a GPU nothing is done: there
    the allocator refuses in time.
    """
    if batches.device.type != "cpu":
        return
    share = train.batch // workers
    # The difference leaves out what does not grow with the batch, such as the weights.
    one, two = (bytes_kept(method, batches.at(0, count), train) for count in (1, 2))
    need, there = (two - one) * share, machine_memory()
    if need > there:
        fits = int(share * there / need) * workers
        raise OutOfMemory(
            f"train.batch = {train.batch}: a step needs about {need / GIB:.0f} GiB in each worker, and this machine "
            f"has {there / GIB:.0f} GiB; use {max(fits, workers)} or less."
        )


def bytes_kept(method: Training, batch: Any, train: Train) -> int:
    """What a step keeps for its backward passes, in bytes, at its fullest: of the generator and one loss."""
    with autocast(batch.face.device, train.precision):
        with kept() as generator:
            generated = method.generate(method.trained, batch)
        with kept() as discriminator:
            if method.discriminator is not None:
                method.for_discriminator(method.discriminator, batch, generated)
        with kept() as losses:
            method.for_generator(batch, generated)
    return _size(generator) + max(_size(discriminator), _size(losses))


@contextmanager
def kept() -> Iterator[dict[int, Tensor]]:
    """Collects the tensors that autograd keeps within the block, one for each piece of memory."""
    found: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _size(tensors: dict[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())


def machine_memory() -> int:
    """The memory of this machine, or of this container, in bytes."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return whole


def out_of_memory(error: BaseException) -> bool:
    """Whether the error is an allocator's, of torch on any device or of numpy."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in REFUSED)
    )
