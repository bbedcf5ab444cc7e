"""What was stored of a torch module: its class, tensors, submodules and other attributes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from mace_core.convert.unpickle import Recorded
from mace_core.errors import UserError


@dataclass(frozen=True)
class Stored:
    """A torch module of a file.

    Attributes:
        kind: name of its class, without the module.
        path: where it stands, ``interactions.0.linear``.
        tensors: its own parameters and buffers.
        parameters: names of those which are parameters.
        modules: its submodules.
        attributes: everything else.
    """

    kind: str
    path: str
    tensors: dict[str, torch.Tensor]
    parameters: frozenset[str]
    modules: dict[str, "Stored"]
    attributes: dict[str, Any]

    @classmethod
    def of(cls, recorded: Any, path: str = "") -> "Stored":
        """Raises: UserError if it is no module."""
        state = getattr(recorded, "state", None)
        if getattr(recorded, "name", "").startswith("torch.fx.") and recorded.args:
            state = recorded.args[0]  # a traced module goes through a function that rebuilds it
        if not isinstance(state, dict) or not {"_parameters", "_buffers", "_modules"} <= {*state}:
            name = getattr(recorded, "name", type(recorded).__name__)
            raise UserError(
                f"not a torch module but {name}",
                where=path or "the file's object",
                mend="give the .model file of mace_run_train, not a checkpoint or a state dict",
            )
        tensors = {
            name: tensor
            for name, tensor in {**state["_parameters"], **state["_buffers"]}.items()
            if tensor is not None
        }
        return cls(
            kind=recorded.name.rsplit(".", 1)[-1],
            path=path,
            tensors={name: tensor.detach() for name, tensor in tensors.items()},
            parameters=frozenset(n for n, t in state["_parameters"].items() if t is not None),
            modules={
                name: cls.of(module, f"{path}.{name}" if path else name)
                for name, module in state["_modules"].items()
                if module is not None
            },
            attributes={
                name: value
                for name, value in state.items()
                if name != "training" and not (name.startswith("_") and name != "_lmax")
            },
        )

    def named_tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Names as in ``state_dict``."""
        for name, tensor in self.tensors.items():
            yield (f"{self.path}.{name}" if self.path else name), tensor
        for module in self.modules.values():
            yield from module.named_tensors()

    def __getitem__(self, path: str) -> "Stored":
        """The submodule at ``path``; UserError if there is none."""
        found = self
        for name in path.split("."):
            if name not in found.modules:
                raise UserError(f"{found.kind} has no {name}", where=found.path or "the model")
            found = found.modules[name]
        return found


def irreps(value: Any) -> list[tuple[int, int, int]]:
    """(multiplicity, l, parity) of stored e3nn irreps, or of their string."""
    from e3nn import o3

    if isinstance(value, str):
        return [(mul, ir.l, ir.p) for mul, ir in o3.Irreps(value)]
    found = []
    for item in value.args[0]:
        mul, irrep = item.args[0] if len(item.args) == 1 else item.args
        l, p = irrep.args[0] if len(irrep.args) == 1 else irrep.args
        found.append((int(mul), int(l), int(p)))
    return found


def number(value: Any) -> float:
    """A stored Python, numpy or 0-dimensional torch number."""
    import numpy as np

    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return float(value.item())
    if isinstance(value, Recorded) and value.name.endswith("multiarray.scalar"):
        dtype, content = value.args
        return float(np.frombuffer(content, dtype=np.dtype(dtype.args[0]))[0])
    if isinstance(value, (int, float)):
        return float(value)
    raise UserError(f"not a number: {getattr(value, 'name', value)}")
