"""One wide model that is the mean of several: their channels stand side by side.

Matrices become block-diagonal, so the members' channels never mix, and the readouts add their
energies. So a committee's mean is a MACE model too, for programs that read one model.

Weights are multiplied by 1/√fan_in when used (``linear.py``, ``radial.py``, ``readout.py``). Side
by side the fan-in is the sum of the members', so each block is multiplied by √(sum / own).
"""

from collections.abc import Sequence

import torch

from mace_core.errors import UserError
from mace_core.model.interaction import BLOCKS, Interaction
from mace_core.model.linear import ElementLinear, Linear
from mace_core.model.model import MACE
from mace_core.model.radial import RadialMLP
from mace_core.model.readout import LinearReadout, MLPReadout

#: Of the architecture, what may differ between members.
WIDTHS = {"num_channels", "radial_MLP", "MLP_irreps"}


def merged(models: Sequence[MACE]) -> MACE:
    """The model whose energy, forces and stress are the means of those of ``models``.

    Args:
        models: of one architecture but for their numbers of channels, hidden units of the radial
            network (not its number of layers), and hidden units of the readout.

    Returns:
        a model with the channels of all: M of C channels make one of M·C, whose matrices have M²
        times the entries of one member's, all but one in M of them zero.

    Raises:
        UserError: no models; they differ in architecture, elements, heads or precision; or an
            interaction is density-normalised, each member by a density of its own.
    """
    _check(models)
    first = models[0]
    architectures = [m.architecture for m in models]
    wide = {
        "num_channels": sum(a.num_channels for a in architectures),
        "radial_MLP": [sum(n) for n in zip(*(a.radial_MLP for a in architectures), strict=True)],
    }
    if isinstance(first.readouts[-1], MLPReadout):
        hidden = sum(m.readouts[-1].weight_1.shape[1] // len(m.heads) for m in models)
        wide["MLP_irreps"] = f"{hidden}x0e"
    scales = torch.stack([m.scale_shift.scale.double() for m in models])
    whole = MACE(
        first.architecture.model_copy(update=wide),
        first.elements,
        dict.fromkeys(first.elements, 0.0),
        first.avg_num_neighbors,
        scales.mean(dim=0).tolist(),
        torch.stack([m.scale_shift.shift.double() for m in models]).mean(dim=0).tolist(),
        first.dtype,
    )
    shares = scales / scales.mean(dim=0) / len(models)  # [M, n_heads], of the mean
    with torch.no_grad():
        whole.E0.copy_(torch.stack([m.E0 for m in models]).mean(dim=0))
        whole.node_embedding.weight.copy_(
            torch.cat([m.node_embedding.weight for m in models], dim=1)
        )
        for t, interaction in enumerate(whole.interactions):
            _interaction(interaction, [m.interactions[t] for m in models], models)
            products = [m.products[t] for m in models]
            for name, weight in whole.products[t].weights.items():
                weight.copy_(torch.cat([p.weights[name] for p in products], dim=2))
            _matrices(whole.products[t].linear, [p.linear for p in products])
            _readout(whole.readouts[t], [m.readouts[t] for m in models], shares)
    return whole


def _check(models: Sequence[MACE]) -> None:
    if not models:
        raise UserError("no models to merge")
    first = models[0]
    kinds = {"elements": [m.elements for m in models], "precision": [m.dtype for m in models]}
    kinds |= {
        name: [getattr(m.architecture, name) for m in models]
        for name in type(first.architecture).model_fields
        if name not in WIDTHS
    }
    kinds["number of layers in radial_MLP"] = [len(m.architecture.radial_MLP) for m in models]
    for name, values in kinds.items():
        if any(value != values[0] for value in values):
            raise UserError(
                f"the models differ in {name}: {', '.join(map(str, values))}",
                mend="only num_channels and widths of radial_MLP and MLP_irreps may differ",
            )
    for name in (first.architecture.interaction_first, first.architecture.interaction):
        if BLOCKS[name].density and len(models) > 1:
            raise UserError(
                f"{name} divides messages by a density, of which one model has one a layer and "
                f"{len(models)} members have {len(models)}",
                mend="`maceloop distill` trains one model on what a committee says",
            )


def _side_by_side(parts: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    """Concatenate along ``axis``, the fan-in, in float64."""
    total = sum(p.shape[axis] for p in parts)
    return torch.cat([p.double() * (total / p.shape[axis]) ** 0.5 for p in parts], dim=axis)


def _blocks(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """[..., rows, columns] of each member → block-diagonal ones; rows are the fan-in."""
    lead = parts[0].shape[:-2]
    total = sum(p.shape[-2] for p in parts)
    scaled = [p.double().flatten(0, -3) * (total / p.shape[-2]) ** 0.5 for p in parts]
    return torch.stack([torch.block_diag(*of) for of in zip(*scaled, strict=True)]).unflatten(
        0, lead
    )


def _matrices(
    whole: Linear | ElementLinear,
    members: Sequence[Linear | ElementLinear],
    factors: Sequence[float] | None = None,
) -> None:
    """Matrices [C, C], one after the other in ``weight``, whatever they stand for."""
    parts = [m.weight.view(-1, m.weight.shape[-1], m.weight.shape[-1]) for m in members]
    if factors is not None:
        parts = [p * by for p, by in zip(parts, factors, strict=True)]
    whole.weight.copy_(_blocks(parts).view_as(whole.weight))


def _interaction(
    whole: Interaction, members: Sequence[Interaction], models: Sequence[MACE]
) -> None:
    _matrices(whole.linear_up, [i.linear_up for i in members])
    _radial(whole.radial_MLP, [i.radial_MLP for i in members], [i.channels for i in members])
    # The whole has one ⟨n⟩, the first member's.
    n = [models[0].avg_num_neighbors / m.avg_num_neighbors for m in models]
    _matrices(whole.linear, [i.linear for i in members], n)
    _matrices(whole.skip, [i.skip for i in members])


def _radial(whole: RadialMLP, members: Sequence[RadialMLP], channels: Sequence[int]) -> None:
    """All read the same basis; outputs are ordered (path, channel)."""
    last = len(whole.weights) - 1
    for k, weight in enumerate(whole.weights):
        parts = [m.weights[k] for m in members]
        if k == last:  # [paths, from, channel]
            parts = [
                p.unflatten(1, (-1, C)).transpose(0, 1)
                for p, C in zip(parts, channels, strict=True)
            ]
        else:
            parts = [p.unsqueeze(0) for p in parts]
        of_paths = torch.cat([p.double() for p in parts], dim=2) if k == 0 else _blocks(parts)
        weight.copy_(of_paths.transpose(0, 1).flatten(1))


def _readout(
    whole: LinearReadout | MLPReadout,
    members: Sequence[LinearReadout | MLPReadout],
    shares: torch.Tensor,
) -> None:
    """Energies of the members, each times its share [M, n_heads] of the mean."""
    if isinstance(whole, LinearReadout):
        parts = [m.weight * s for m, s in zip(members, shares, strict=True)]
        whole.weight.copy_(_side_by_side(parts, 0))
        return
    of_heads = [m.weight_1.unflatten(1, (m.n_heads, -1)).transpose(0, 1) for m in members]
    whole.weight_1.copy_(_blocks(of_heads).transpose(0, 1).flatten(1))  # (head, unit)
    parts = [
        (m.weight_2 * s).unflatten(0, (m.n_heads, -1)) for m, s in zip(members, shares, strict=True)
    ]
    whole.weight_2.copy_(_side_by_side(parts, 1).flatten(0, 1))
