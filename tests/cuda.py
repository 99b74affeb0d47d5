"""A CUDA device for a machine without a GPU: its tensors compute on the CPU and refuse what CUDA refuses.

torch's FakeTensorMode has no values, so whatever reads one (a loss, a judge, a picture) stops there, and in torch 2.15
its CUDA tensors have no backward pass without a driver. Here everything runs to its end, with the CPU's numbers, and
what stands on the wrong device raises as on a GPU. Number formats are the CPU's: see `tests/models/test_networks.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)
FREE = 80 * 2**30  # bytes of its memory
# These take their indexes, the arguments from the second on, from the CPU as well.
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
COPIES = {"aten::copy_", "aten::_foreach_copy_"}


class OnCuda(Tensor):
    """A tensor that says it is on CUDA, around the one that holds its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnCuda":
        with torch.inference_mode(False):  # which a view of a network's weights must not be made in
            made = Tensor._make_wrapper_subclass(
                cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype
            )
        made.inner = inner
        return made

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]

    def __tensor_flatten__(self) -> tuple[list[str], None]:  # modules then swap their weights when they are moved
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], meta: None, size: Any, stride: Any) -> "OnCuda":
        return OnCuda(inner["inner"])

    def numpy(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.inner.tolist()

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"OnCuda({self.inner})"

    def __reduce_ex__(self, protocol: Any) -> Any:  # checkpoints are read on the CPU
        return self.inner.__reduce_ex__(protocol)

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name
        flat = tree_flatten((args, kwargs))[0]
        # Backward, torch's own code makes zeros where no gradient came, on the device that the inner tensors are on.
        if name not in COPIES and torch._C._current_autograd_node() is None:
            _refuse_mixed(name, args[:1] if name in INDEXED else flat)
        inner = {id(value.inner): value for value in flat if isinstance(value, OnCuda)}
        made = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if name in COPIES and not isinstance(args[0], OnCuda):
            return args[0]
        return tree_map(lambda value: inner.get(id(value), on_cuda(value)) if type(value) is Tensor else value, made)


class Generator(torch.Generator):
    """One that knows for which device it was made."""

    def __new__(cls, device: Any = "cpu") -> "Generator":
        made = super().__new__(cls, "cpu")
        made.on = torch.device(device).type  # type: ignore[attr-defined]
        return made

    device = property(lambda self: CUDA if self.on == "cuda" else torch.device("cpu"))  # type: ignore[assignment]


class Pretending(TorchFunctionMode):
    """Makes and moves tensors to CUDA and from it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in ("cuda", "cpu") and isinstance(args[0], Tensor):
            return _moved(args[0], name)
        if name == "to" and isinstance(args[0], Tensor):
            places = [value for value in (*args[1:], kwargs.get("device")) if isinstance(value, (str, torch.device))]
            if places:
                rest = [torch.device("cpu") if isinstance(value, (str, torch.device)) else value for value in args[1:]]
                kwargs.pop("device", None)
                return _moved(args[0], torch.device(places[0]).type).to(*rest, **kwargs)
        if name == "pca_lowrank" and isinstance(args[0], OnCuda):  # it draws numbers, where no mode sees it
            return tuple(map(on_cuda, func(args[0].inner, *args[1:], **kwargs)))
        wanted = kwargs.get("device")
        generator = kwargs.get("generator")
        if wanted is None or isinstance(wanted, (torch.device, str)):
            on = "cpu" if wanted is None else torch.device(wanted).type
            if generator is not None and generator.on != on and not any(isinstance(v, OnCuda) for v in args):
                raise RuntimeError(f"{name}: expected a {on} generator but found one of {generator.on}")
            if on == "cuda":
                return on_cuda(func(*args, **{**kwargs, "device": "cpu"}))
        return func(*args, **kwargs)


def on_cuda(tensor: Tensor) -> "OnCuda":
    if isinstance(tensor, OnCuda):
        return tensor
    return OnCuda(tensor.detach()).requires_grad_() if tensor.requires_grad else OnCuda(tensor)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnCuda) else value


def _moved(tensor: Tensor, device: str) -> Tensor:
    if (device == "cuda") == isinstance(tensor, OnCuda):
        return tensor
    assert not (tensor.requires_grad and torch.is_grad_enabled()), "no gradient goes from one device to the other here"
    return on_cuda(tensor) if device == "cuda" else tensor.detach().inner.clone()  # type: ignore[attr-defined]


def _refuse_mixed(name: str, values: Any) -> None:
    tensors = [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]
    # A number may come from the CPU.
    found = {isinstance(value, OnCuda) for value in tensors if value.dim() or isinstance(value, OnCuda)}
    if len(found) > 1:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found cuda and cpu")


class Gpu:
    """peak: bytes that it held at most since that was last reset. emptied: times that its cache was given back."""

    peak, emptied = 40 * 2**30, 0

    def reset(self, *device: Any) -> None:
        self.peak = 2**30

    def empty(self) -> None:
        self.emptied += 1


@contextmanager
def pretended() -> Iterator[Gpu]:
    """A machine with one GPU, in which others have used much of its memory, for the time of the block."""
    autocast, gpu = torch.autocast, Gpu()
    with pytest.MonkeyPatch.context() as patch, Pretending():
        for name, answer in {
            "_lazy_init": None,
            "is_available": True,
            "device_count": 1,
            "mem_get_info": (FREE, FREE),
            "get_rng_state": None,
            "set_rng_state": None,
        }.items():
            patch.setattr(torch.cuda, name, lambda *args, answer=answer, **kwargs: answer)
        patch.setattr(torch.cuda, "max_memory_allocated", lambda *device: gpu.peak)
        patch.setattr(torch.cuda, "reset_peak_memory_stats", gpu.reset)
        patch.setattr(torch.cuda, "empty_cache", gpu.empty)
        # Optimisers ask the driver whether a graph is being captured.
        patch.setattr(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda optimiser: None)
        # What a module is moved to takes the place of its weights, as it is of another class.
        patch.setattr(torch.__future__, "get_swap_module_params_on_conversion", lambda: True)
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch, "autocast", lambda device, *args, **kwargs: autocast("cpu", *args, **kwargs))
        patch.setattr(Tensor, "pin_memory", lambda tensor, *args: tensor)
        yield gpu
