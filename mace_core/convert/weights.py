"""Our weights and mace-torch's: the same numbers under other names, in other shapes.

Factors (1/√fan_in, 1/⟨n⟩, the constant of SiLU) are applied when a model runs and never stored, so
that a conversion copies numbers and changes none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from ase.data import covalent_radii
from pydantic import ValidationError

from mace_core.config.sections import Model
from mace_core.convert.source import Source
from mace_core.errors import UserError
from mace_core.model.model import MACE

#: Our names and mace-torch's. Shapes are ours where the two have the same elements in a row.
NAMES = {
    r"E0": "atomic_energies_fn.atomic_energies",
    r"node_embedding\.weight": "node_embedding.linear.weight",
    r"interactions\.(\d+)\.linear_up\.weight": r"interactions.\1.linear_up.weight",
    r"interactions\.(\d+)\.radial_MLP\.weights\.(\d+)": (
        r"interactions.\1.conv_tp_weights.layer\2.weight"
    ),
    r"interactions\.(\d+)\.density\.weight": r"interactions.\1.density_fn.layer0.weight",
    r"interactions\.(\d+)\.linear\.weight": r"interactions.\1.linear.weight",
    r"interactions\.(\d+)\.skip\.weight": r"interactions.\1.skip_tp.weight",
    r"products\.(\d+)\.linear\.weight": r"products.\1.linear.weight",
    r"readouts\.(\d+)\.weight": r"readouts.\1.linear.weight",
    r"readouts\.(\d+)\.weight_([12])": r"readouts.\1.linear_\2.weight",
    r"scale_shift\.(scale|shift)": r"scale_shift.\1",
    r"radial_basis\.transform\.(\w+)": r"radial_embedding.distance_transform.\1",
    r"pair_repulsion\.(\w+)": r"pair_repulsion_fn.\1",
}
PRODUCT = re.compile(r"products\.(\d+)\.weights\.L(\d+)_nu(\d+)")
FLAT = re.compile(r".*(linear|linear_up|linear_[12]|skip_tp)\.weight")


@dataclass(frozen=True)
class Link:
    """One tensor in both models."""

    ours: str
    theirs: str
    elements: list[int]

    def to_ours(self, tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """``tensor`` of mace-torch in our shape; ValueError if it does not fit."""
        if self.ours.endswith("covalent_radii"):
            tensor = tensor[self.elements]
        if tensor.numel() != shape.numel():
            raise ValueError(f"{self.theirs} has {tensor.numel()} entries, not {shape.numel()}")
        if self.theirs.endswith("skip_tp.weight"):
            l, Z, C, D = shape  # stored as [l, from, element, to]
            return tensor.view(l, C, Z, D).transpose(1, 2).contiguous()
        return tensor.reshape(shape)

    def to_theirs(self, tensor: torch.Tensor) -> torch.Tensor:
        """Our tensor in mace-torch's shape."""
        if self.ours.endswith("covalent_radii"):
            table = torch.tensor(covalent_radii, dtype=tensor.dtype)
            table[self.elements] = tensor
            return table
        if self.theirs.endswith("skip_tp.weight"):
            tensor = tensor.transpose(1, 2)
        return tensor.reshape(-1) if FLAT.fullmatch(self.theirs) else tensor


def links(model: MACE) -> Iterator[Link]:
    """A link for each tensor that is stored of ``model``."""
    for name in model.state_dict():
        if model.architecture.model == "MACE" and name.startswith("scale_shift."):
            continue  # there is none in that class: 1 and 0 here
        if match := PRODUCT.fullmatch(name):
            t, L, nu = map(int, match.groups())
            below = model.architecture.correlation - nu
            last = f"weights.{below - 1}" if below else "weights_max"
            theirs = f"products.{t}.symmetric_contractions.contractions.{L}.{last}"
        else:
            theirs = next(re.sub(p, to, name) for p, to in NAMES.items() if re.fullmatch(p, name))
        yield Link(name, theirs, model.elements)


def to_model(source: Source) -> MACE:
    """Our model with the weights of ``source``.

    Raises:
        UserError: hyper-parameters out of the range that is supported here.
    """
    o = source.options
    try:
        architecture = Model(
            model=source.kind,
            r_max=o["r_max"],
            num_radial_basis=o["num_bessel"],
            num_cutoff_basis=o["num_polynomial_cutoff"],
            max_ell=o["max_ell"],
            correlation=o["correlation"],
            num_interactions=o["num_interactions"],
            num_channels=o["num_channels"],
            max_L=o["max_L"],
            MLP_irreps=o["MLP_irreps"],
            radial_MLP=o["radial_MLP"],
            interaction_first=o["interaction_first"],
            interaction=o["interaction"],
            radial_type=o["radial_type"],
            distance_transform=o["distance_transform"],
            pair_repulsion=o["pair_repulsion"],
            heads=o["heads"],
        )
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors())
        raise UserError(f"not supported: {wrong}", where=f"the model ({source.kind})") from err
    elements = o["atomic_numbers"]
    E0s = {head: dict.fromkeys(elements, 0.0) for head in o["heads"]}
    model = MACE(architecture, elements, E0s, o["avg_num_neighbors"], dtype=source.dtype)
    state, left = model.state_dict(), dict(source.tensors)
    for link in links(model):
        try:
            state[link.ours] = link.to_ours(left.pop(link.theirs), state[link.ours].shape)
        except (KeyError, ValueError) as err:
            raise UserError(f"does not fit the architecture: {err}", where=source.kind) from err
    # Where no coupling reaches L, mace-torch keeps a column of weights that nothing multiplies.
    left = [name for name, tensor in left.items() if ".contractions." not in name]
    if left:
        raise UserError(f"weights without a place: {', '.join(left)}", where=source.kind)
    model.load_state_dict(state)
    return model


def from_model(model: MACE) -> Source:
    """``model`` in mace-torch's terms."""
    a = model.architecture
    options = {
        "r_max": a.r_max,
        "atomic_numbers": model.elements,
        "num_interactions": a.num_interactions,
        "heads": model.heads,
        "num_bessel": a.num_radial_basis,
        "num_polynomial_cutoff": a.num_cutoff_basis,
        "radial_type": a.radial_type,
        "distance_transform": a.distance_transform,
        "max_ell": a.max_ell,
        "interaction_first": a.interaction_first,
        "interaction": a.interaction if a.num_interactions > 1 else a.interaction_first,
        "num_channels": a.num_channels,
        "max_L": a.max_L if a.num_interactions > 1 else 0,
        "correlation": a.correlation,
        "radial_MLP": a.radial_MLP,
        "avg_num_neighbors": model.avg_num_neighbors,
        "MLP_irreps": a.MLP_irreps,
        "pair_repulsion": a.pair_repulsion,
    }
    state = model.state_dict()
    tensors = {link.theirs: link.to_theirs(state[link.ours].cpu()) for link in links(model)}
    return Source(a.model, options, tensors)
