"""A file from which ``torch.load`` makes a mace-torch model, written without mace-torch.

mace-torch's files hold the whole module with compiled code of the versions that wrote it. This one
holds the same weights and the calls that make the module: its constructor with its arguments, then
``load_state_dict``. Whoever loads it gets an ordinary ``mace.modules.models.ScaleShiftMACE``,
compiled by the mace-torch at hand; saved again, it is a file like any other.

The couplings U are stored with the weights. So the function does not depend on the
Clebsch–Gordan signs of the e3nn that is installed where the file is loaded.
"""

import io
import pickle
import types
from typing import Any, NamedTuple

import torch

from mace_core.convert.basis import full_coupling
from mace_core.convert.source import SILU, Source
from mace_core.errors import UserError


class Name(NamedTuple):
    """A function or class of whoever loads the file."""

    module: str
    name: str


class Call(NamedTuple):
    """A call at loading. ``state`` is then given to the object that it makes."""

    function: Any
    args: tuple
    state: Any = None


class _Pickler(pickle._Pickler):
    """Writes :class:`Name` and :class:`Call` as what they stand for.

    The standard pickler would import a name to check it, and mace-torch is not here.
    """

    def __init__(self, file: io.IOBase, protocol: int = 2):
        super().__init__(file, protocol)

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(obj, (Name, Call)):
            return super().save(obj, save_persistent_id)
        if id(obj) in self.memo:
            return self.write(self.get(self.memo[id(obj)][0]))
        if isinstance(obj, Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        else:
            self.save(obj.function)
            self.save(obj.args)
            self.write(pickle.REDUCE)
        self.memoize(obj)
        if isinstance(obj, Call) and obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)
        return None


#: What ``torch.save`` asks of a pickle module.
PICKLE = types.SimpleNamespace(__name__=__name__, Pickler=_Pickler)


def write_recipe(source: Source) -> bytes:
    """A file for mace-torch's MACECalculator and ``torch.load``.

    Args:
        source: what to write.

    Raises:
        UserError: the model is not one that mace-torch can make.
    """
    if source.options["max_ell"] < 1:
        raise UserError("mace-torch makes no models of max_ell 0", where="model.max_ell")
    dtype = Name("torch", str(source.dtype).removeprefix("torch."))
    before = Call(Name("torch", "get_default_dtype"), ())
    keywords = _arguments(source)
    constructor = Call(
        Name("functools", "partial"),
        (Name("mace.modules.models", source.kind),),
        (Name("mace.modules.models", source.kind), (), keywords, None),
    )
    model = Call(constructor, ())
    load = Call(Name("__builtin__", "getattr"), (model, "load_state_dict"))
    loaded = Call(load, (_state(source), False, True))  # not strict, assigned as they are
    unexpected = Call(Name("__builtin__", "getattr"), (loaded, "unexpected_keys"))
    count = Call(Name("__builtin__", "len"), (unexpected,))
    # An IndexError is what a pickle can raise: weights that the class does not know.
    check = Call(Name("operator", "getitem"), ((None,), count))
    steps = (
        before,
        Call(Name("torch", "set_default_dtype"), (dtype,)),
        model,
        check,
        Call(Name("torch", "set_default_dtype"), (before,)),
    )
    buffer = io.BytesIO()
    torch.save(Call(Name("operator", "getitem"), (steps, 2)), buffer, pickle_module=PICKLE)
    return buffer.getvalue()


def _arguments(source: Source) -> dict[str, Any]:
    """Of mace-torch's constructor."""
    o = source.options
    n_heads, elements = len(o["heads"]), o["atomic_numbers"]

    def irreps(text: str) -> Call:
        return Call(Name("e3nn.o3", "Irreps"), (text,))

    hidden = "+".join(f"{o['num_channels']}x{l}{'eo'[l % 2]}" for l in range(o["max_L"] + 1))
    arguments = {
        "r_max": o["r_max"],
        "num_bessel": o["num_bessel"],
        "num_polynomial_cutoff": o["num_polynomial_cutoff"],
        "max_ell": o["max_ell"],
        "interaction_cls": Name("mace.modules.blocks", o["interaction"]),
        "interaction_cls_first": Name("mace.modules.blocks", o["interaction_first"]),
        "num_interactions": o["num_interactions"],
        "num_elements": len(elements),
        "hidden_irreps": irreps(hidden),
        "MLP_irreps": irreps(o["MLP_irreps"]),
        "atomic_energies": [[0.0] * len(elements)] * n_heads,
        "avg_num_neighbors": o["avg_num_neighbors"],
        "atomic_numbers": list(elements),
        "correlation": o["correlation"],
        "gate": Name(*SILU.rsplit(".", 1)),
        "pair_repulsion": o["pair_repulsion"],
        "use_reduced_cg": False,
        "distance_transform": o["distance_transform"],
        "radial_MLP": list(o["radial_MLP"]),
        "radial_type": o["radial_type"],
        "heads": list(o["heads"]),
    }
    if source.kind == "ScaleShiftMACE":
        arguments |= {"atomic_inter_scale": [1.0] * n_heads, "atomic_inter_shift": [0.0] * n_heads}
    return arguments


def _state(source: Source) -> dict[str, torch.Tensor]:
    """Weights and couplings; what float32 would round (energies, cutoff) in float64."""
    o = source.options
    state = {name: tensor.detach().clone() for name, tensor in source.tensors.items()}
    r_max = torch.tensor(o["r_max"], dtype=torch.float64)
    for name in ["r_max", "radial_embedding.cutoff_fn.r_max"]:
        state[name] = r_max.clone()
    if o["radial_type"] == "bessel":
        state["radial_embedding.bessel_fn.r_max"] = r_max.clone()
    for t in range(o["num_interactions"]):
        last = t == o["num_interactions"] - 1
        for L in range(1 if last else o["max_L"] + 1):
            for nu in range(1, o["correlation"] + 1):
                contraction = f"products.{t}.symmetric_contractions.contractions.{L}"
                U = full_coupling(o["max_ell"], L, nu).to(source.dtype)
                state[f"{contraction}.U_matrix_{nu}"] = U
    return state
