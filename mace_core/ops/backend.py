"""What the operations run on: the native kernels, or plain torch.

Both compute the same, to rounding. Native kernels serve float32 and float64 on CPUs. The variable
``MACELOOP_OPS`` (``auto``, ``native``, ``torch``) or :func:`use` chooses by hand.
"""

import contextlib
import ctypes
import functools
import os
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import numpy as np
import torch

from mace_core.errors import UserError
from mace_core.native.loader import library

BACKENDS = ("auto", "native", "torch")
SWITCH = "MACELOOP_OPS"

#: How far results, gradients and their gradients may differ between back ends: largest difference
#: over the largest value, or over 1 if that is larger.
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}

_chosen: ContextVar[str | None] = ContextVar("backend", default=None)

#: That of the functions in training.cpp which this file calls.
INTERFACE = 7

#: Arguments of each function: p a pointer, i an integer, d a double.
_FUNCTIONS = {
    "a_basis": "piipppi" + "ppppppp" + "pppp",
    "b_basis": "pipi" + "pppp" + "ppp",
    "bessel": "iidipppp",
    "mlp_forward": "pipppp",
    "mlp_backward": "pippppp" + "ppp",
    "mlp_double_backward": "pippppppp" + "pppp",
    "harmonics_forward": "iipp",
    "harmonics_backward": "iippppp",
    "linear_forward": "pppp",
    "linear_backward": "pppp",
    "linear_weights": "pppp",
    "weight_step": "ipppdd",
    "model_forward": "pppp" + "dd" + "pppp" + "ip",
    "model_backward": "p" + "pppp" + "p",
    "model_free": "p",
}
_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


@contextlib.contextmanager
def use(backend: str) -> Iterator[None]:
    """Within the block, the operations run on ``backend``, one of :data:`BACKENDS`."""
    token = _chosen.set(_checked(backend))
    try:
        yield
    finally:
        _chosen.reset(token)


class Kernels:
    """The native functions for one dtype, as attributes.

    They raise MemoryError, and :class:`UserError` where threads cannot be started.
    """

    def __init__(self, dll: ctypes.CDLL, dtype: torch.dtype):
        kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double}
        for name, arguments in _FUNCTIONS.items():
            function = getattr(dll, f"maceloop_{name}_{_SUFFIX[dtype]}")
            function.argtypes = [kinds[a] for a in arguments]
            function.restype, function.errcheck = ctypes.c_int, _succeeded
            setattr(self, name, function)


def _succeeded(code: int, function, arguments) -> None:
    """Raises what a native function's code says."""
    if code == 1:
        raise MemoryError("memory ran out in a native kernel")
    if code:
        raise UserError(
            "a thread could not be started",
            where=f"a training step on {torch.get_num_threads()} threads",
            mend="set OMP_NUM_THREADS lower, or allow this user more processes (ulimit -u)",
        )


def kernels(*operands: torch.Tensor) -> Kernels | None:
    """The native functions for these operands; None where torch is to be used.

    Raises:
        UserError: the back end was chosen to be native, and cannot be.
    """
    backend = _chosen.get() or _from_environment()
    if backend == "torch":
        return None
    dtype = operands[0].dtype
    found = _kernels(dtype) if dtype in _SUFFIX else None
    for x in operands:
        if x.dtype is not dtype or not x.is_cpu:
            found = None
    if found is None and backend == "native":
        raise UserError(
            "the native kernels cannot be used",
            where=f"{SWITCH}=native, {dtype} on {operands[0].device}",
            mend="they need a compiler at installation, and float32 or float64 on a CPU",
        )
    return found


@functools.cache
def _kernels(dtype: torch.dtype) -> Kernels | None:
    dll = library()
    if dll is None:
        return None
    interface = getattr(dll, "maceloop_training_interface", lambda: 0)()
    if interface != INTERFACE:
        warnings.warn(
            "the native kernels were compiled from other sources than these: training runs on "
            "torch, slower. Install the package again.",
            stacklevel=2,
        )
        return None
    return Kernels(dll, dtype)


@functools.cache
def _from_environment() -> str:
    return _checked(os.environ.get(SWITCH, "auto"))


def _checked(backend: str) -> str:
    if backend not in BACKENDS:
        raise UserError(
            f"there is no back end {backend!r}", where=SWITCH, mend=f"one of {', '.join(BACKENDS)}"
        )
    return backend


class Struct:
    """A C struct of 64-bit integers and pointers to arrays, in this order.

    Args:
        sizes: the integers.
        arrays: contiguous; kept alive.
    """

    def __init__(self, sizes: Sequence[int], arrays: Sequence[np.ndarray]):
        self._parts = list(sizes), list(arrays)
        addresses = [a.ctypes.data for a in arrays]
        self._words = np.array([*sizes, *addresses], dtype=np.int64)
        self.address = self._words.ctypes.data

    def __deepcopy__(self, memo) -> "Struct":
        return self

    def __reduce__(self):
        return Struct, self._parts


def pointers(*tensors: torch.Tensor | None) -> list[int | None]:
    """Addresses of contiguous tensors' data; null for None."""
    return [None if x is None else x.data_ptr() for x in tensors]


@functools.lru_cache(maxsize=4096)
def integers(values: tuple[int, ...]) -> Struct:
    """An array of 64-bit integers."""
    return Struct(values, ())


def contiguous(*tensors: torch.Tensor | None) -> list[torch.Tensor | None]:
    """The tensors as the kernels read them."""
    return [None if x is None else x.contiguous() for x in tensors]


def empty_like(which: Sequence[bool], *tensors: torch.Tensor) -> list[torch.Tensor | None]:
    """Where gradients with respect to these tensors are to be written; None where not wanted."""
    return [torch.empty_like(x) if w else None for w, x in zip(which, tensors, strict=True)]


def last_derivative(backward):
    """For the backward pass of a gradient: its result has no derivatives, and does not pretend to.

    (Torch's ``once_differentiable`` leaves them out silently where other paths lead to the same
    input.)
    """

    @functools.wraps(backward)
    def checked(ctx, *cotangents):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "the native operations have first and second derivatives only: for more, run the "
                f"model on plain torch ({SWITCH}=torch)"
            )
        return backward(ctx, *cotangents)

    return checked


class Gradient(torch.autograd.Function):
    """A gradient as an operation, which has gradients of its own in a pass that keeps its graph."""

    @classmethod
    def of(cls, *inputs):
        """The gradient; a node of the graph only where the graph is kept."""
        if torch.is_grad_enabled():
            return cls.apply(*inputs)
        return cls.forward(_NoGraph(), *inputs)


class _NoGraph:
    """Stands for the context of a node that is not made."""

    def set_materialize_grads(self, value: bool) -> None:
        pass

    def save_for_backward(self, *tensors: torch.Tensor | None) -> None:
        pass


def wanted(ctx) -> list[bool]:
    """Which tensor inputs' gradients the running backward pass will use.

    ``ctx.needs_input_grad`` says which could be differentiated. Forces are gradients with respect
    to positions alone, in a pass that has no use for those of the weights.
    """
    return [
        needed and _will_run(node)
        for needed, (node, _) in zip(ctx.needs_input_grad, ctx.next_functions, strict=False)
    ]


def _will_run(node) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # said of a leaf whose gradient torch.autograd.grad was asked for
        return True
