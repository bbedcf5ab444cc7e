"""Several energies learnt at once, such as levels of theory: which is meant, and its numbers."""

from collections.abc import Mapping, Sequence

import torch
from ase.data import chemical_symbols

from mace_core.errors import UserError
from mace_core.model.graph import Graph


def default_head(heads: Sequence[str]) -> int | None:
    """The only head, or the one called "default" in any case of letters; None without one."""
    named = [k for k, name in enumerate(heads) if len(heads) == 1 or name.lower() == "default"]
    return named[0] if named else None


def head_of_atoms(graph: Graph, heads: Sequence[str], default: int | None) -> torch.Tensor:
    """[n_atoms] index of the head that each atom's frame asks for.

    Raises:
        UserError: a frame asks for none and there is no default.
    """
    head = graph.frame.new_full((graph.n_frames,), -1) if graph.head is None else graph.head
    if default is not None:
        head = torch.where(head < 0, default, head)
    elif bool((head < 0).any()):
        raise UserError(
            "a frame does not say which head it wants",
            where=f"the model's heads are {', '.join(heads)}, none of them the default",
            mend="name one of them",
        )
    return head.index_select(0, graph.frame)


def one_for_each(value: float | Sequence[float], heads: Sequence[str]) -> list[float]:
    """A number for each head, from such a list or from one number for all.

    Raises:
        UserError: a list of another length.
    """
    values = list(value) if isinstance(value, Sequence) else [value] * len(heads)
    if len(values) != len(heads):
        raise UserError(
            f"{len(values)} scales or shifts for {len(heads)} heads", where="model.heads"
        )
    return [float(x) for x in values]


def table_of_E0s(
    E0s: Mapping[int, float] | Mapping[str, Mapping[int, float]],
    heads: Sequence[str],
    elements: Sequence[int],
) -> list[list[float]]:
    """[n_heads][n_elements] eV, from energies by element, for all heads or for each.

    Raises:
        UserError: an element without E0.
    """
    by_head = any(isinstance(value, Mapping) for value in E0s.values())
    rows = []
    for head in heads:
        row = E0s.get(head, {}) if by_head else E0s
        missing = [chemical_symbols[z] for z in elements if z not in row]
        if missing:
            raise UserError(
                f"no E0 for {', '.join(missing)}",
                where=f"E0s of head {head}" if by_head else "E0s",
                mend="give the energy of the free atom, or data.E0s: average",
            )
        rows.append([float(row[z]) for z in elements])
    return rows
