"""Part of a model: some of its elements, one of its heads. The function stays what it was.

Weights are normalised by how many elements (node embedding, self-connection) or hidden units of
the readout there are, so what is kept is multiplied by the root of new over old numbers.
"""

from collections.abc import Sequence

import torch
from ase.data import chemical_symbols

from mace_core.errors import UserError
from mace_core.model.model import MACE


def select(model: MACE, elements: Sequence[int] | None = None, head: str | None = None) -> MACE:
    """A smaller model with the same energies, where it applies.

    Args:
        model: stays as it is.
        elements: atomic numbers to keep; all by default.
        head: to keep, then called ``Default``; all by default.

    Raises:
        UserError: the model does not know an element or the head.
    """
    elements = model.elements if elements is None else sorted({int(z) for z in elements})
    unknown = [chemical_symbols[z] for z in elements if z not in model.elements]
    if unknown:
        known = " ".join(chemical_symbols[z] for z in model.elements)
        raise UserError(f"the model does not know {', '.join(unknown)}", where=f"it knows {known}")
    if head is not None and head not in model.heads:
        raise UserError(
            f"the model has no head {head!r}", where=f"its heads are {', '.join(model.heads)}"
        )
    z = [model.elements.index(number) for number in elements]
    heads = list(range(len(model.heads))) if head is None else [model.heads.index(head)]
    names = model.heads if head is None else ["Default"]
    architecture = model.architecture.model_copy(update={"heads": names})
    part = MACE(
        architecture,
        elements,
        {name: dict.fromkeys(elements, 0.0) for name in names},
        model.avg_num_neighbors,
        dtype=model.dtype,
    )
    fewer = (len(z) / len(model.elements)) ** 0.5
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "E0":
            tensor = tensor[heads][:, z]
        elif name.startswith("scale_shift."):
            tensor = tensor[heads]
        elif name == "node_embedding.weight":
            tensor = tensor[z] * fewer
        elif name.endswith(".skip.weight"):
            tensor = tensor[:, z] * fewer
        elif ".weights.L" in name or name.endswith("covalent_radii"):
            tensor = tensor[z]
        elif name.startswith("readouts.") and len(heads) < len(model.heads):
            tensor = _readout(name, tensor, heads[0], len(model.heads))
        state[name] = tensor.clone()
    part.load_state_dict(state)
    return part


def _readout(name: str, weight: torch.Tensor, head: int, n_heads: int) -> torch.Tensor:
    """The part of one head; hidden units are ordered (head, unit)."""
    if name.endswith("weight_1"):
        return weight.unflatten(1, (n_heads, -1))[:, head]
    if name.endswith("weight_2"):
        return weight.unflatten(0, (n_heads, -1))[head, :, head : head + 1] / n_heads**0.5
    return weight[:, head : head + 1]
