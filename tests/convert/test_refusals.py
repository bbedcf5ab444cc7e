"""What a file may hold that is not supported: refused by name, never ignored."""

import pytest
import torch
from golden_tools import FOLDER, golden

from mace_core.convert.source import read_source
from mace_core.convert.stored import Stored
from mace_core.convert.unpickle import Recorded, read_pickle
from mace_core.convert.weights import to_model
from mace_core.errors import UserError
from mace_core.model.radial import SILU_FACTOR


@pytest.fixture
def tree():
    """A real file of mace_run_train, as it was read."""
    return read_pickle(FOLDER / "trained.model")


def part(tree, path):
    """State of the submodule at ``path``."""
    for name in path.split(".") if path else []:
        tree = tree.state["_modules"][name]
    return tree.state


def named(name, *args):
    return type(name, (Recorded,), {"name": name})(*args)


def change_class(tree, path, name):
    parent, _, child = path.rpartition(".")
    other = named(name)
    other.state = part(tree, path)
    if not path:
        return other
    part(tree, parent)["_modules"][child] = other
    return tree


def set_option(tree, path, name, value):
    part(tree, path)[name] = value
    return tree


def set_tensor(tree, path, name, change):
    state = part(tree, path)
    group = "_parameters" if name in state["_parameters"] else "_buffers"
    state[group][name] = change(state[group].get(name))
    return tree


def add_module(tree, path, name):
    new = named("torch.nn.modules.linear.Linear")
    new.state = {"_parameters": {"weight": torch.ones(1)}, "_buffers": {}, "_modules": {}}
    part(tree, path)["_modules"][name] = new
    return tree


BLOCKS = "mace.modules.blocks"
CASES = {
    "dipoles": lambda t: change_class(t, "", "mace.modules.models.AtomicDipolesMACE"),
    "a OtherMACE": lambda t: change_class(t, "", "mace.modules.models.OtherMACE"),
    "RealAgnosticResidualNonLinearInteractionBlock": lambda t: change_class(
        t, "interactions.1", f"{BLOCKS}.RealAgnosticResidualNonLinearInteractionBlock"
    ),
    "NonLinearBiasReadoutBlock": lambda t: change_class(
        t, "readouts.1", f"{BLOCKS}.NonLinearBiasReadoutBlock"
    ),
    "LoRAO3Linear": lambda t: change_class(
        t, "interactions.0.linear_up", "mace.modules.lora.LoRAO3Linear"
    ),
    "apply_cutoff = False": lambda t: set_option(t, "", "apply_cutoff", False),
    "use_so3 = True": lambda t: set_option(t, "", "use_so3", True),
    "use_last_readout_only = True": lambda t: set_option(t, "", "use_last_readout_only", True),
    "use_agnostic_product = True": lambda t: set_option(
        t, "products.0", "use_agnostic_product", True
    ),
    "embedding_specs = ": lambda t: set_option(t, "", "embedding_specs", {"charge": {}}),
    "novelty = 3": lambda t: set_option(t, "", "novelty", 3),
    "activation torch.tanh": lambda t: set_option(
        t, "readouts.1.non_linearity.acts.0", "f", type(named("torch.tanh"))
    ),
    "SiLU times": lambda t: set_option(t, "readouts.1.non_linearity.acts.0", "cst", 1.5),
    "normalised as": lambda t: set_option(t, "spherical_harmonics", "normalization", "norm"),
    "bessel_weights": lambda t: set_tensor(
        t, "radial_embedding.bessel_fn", "bessel_weights", lambda w: w * 1.001
    ),
    "other couplings": lambda t: set_tensor(
        t,
        "products.0.symmetric_contractions.contractions.0",
        "U_matrix_2",
        lambda U: U + torch.arange(U.numel()).reshape(U.shape),
    ),
    "not finite": lambda t: set_tensor(
        t, "node_embedding.linear", "weight", lambda w: w * float("nan")
    ),
    "products.0.mystery": lambda t: set_tensor(t, "products.0", "mystery", lambda w: torch.ones(3)),
    "linear_down": lambda t: add_module(t, "interactions.0", "linear_down"),
    "les": lambda t: add_module(t, "", "les"),
    "node_feats_irreps 4x0e\\+2x1o": lambda t: set_option(
        t, "interactions.1", "node_feats_irreps", "4x0e+2x1o"
    ),
    "node_feats_irreps 4x0e\\+4x1e": lambda t: set_option(
        t, "interactions.1", "node_feats_irreps", "4x0e+4x1e"
    ),
    "edge_irreps": lambda t: set_option(t, "interactions.1", "edge_irreps", "4x0e"),
    "target_irreps": lambda t: set_option(t, "interactions.1", "target_irreps", "4x0e"),
    "layers that differ: neighbours": lambda t: set_option(
        t, "interactions.1", "avg_num_neighbors", 3.0
    ),
    "not sorted": lambda t: set_tensor(t, "", "atomic_numbers", lambda z: z.flip(0)),
}


@pytest.mark.parametrize("message", CASES)
def test_refused_by_name(tree, message):
    changed = CASES[message](tree)
    with pytest.raises(UserError, match=message):
        read_source(Stored.of(changed))


def test_a_missing_tensor_is_named(tree):
    part(tree, "products.1.linear")["_parameters"].pop("weight")
    with pytest.raises(UserError, match=r"no products\.1\.linear\.weight"):
        read_source(Stored.of(tree))


def test_the_unchanged_file_is_read(tree):
    source = read_source(Stored.of(tree))
    expected = golden("trained").source
    assert (source.kind, source.options) == (expected.kind, expected.options)
    for name, tensor in expected.tensors.items():
        assert torch.equal(source.tensors[name], tensor), name


def test_columns_of_other_sign_turn_the_weights(tree):
    """The files of an e3nn whose Clebsch–Gordan coefficients have other signs."""
    contraction = "products.0.symmetric_contractions.contractions.1"
    set_tensor(tree, contraction, "U_matrix_3", lambda U: U * torch.tensor(-1.0))
    set_tensor(tree, contraction, "weights_max", lambda W: -W)
    model = to_model(read_source(Stored.of(tree)))
    expected = to_model(golden("trained").source)
    for ours, other in zip(model.products, expected.products, strict=True):
        # Columns that vanish for equal factors have no sign, and do not act.
        assert torch.equal(ours.coefficients(), other.coefficients())


def test_the_files_own_constant_of_silu_is_kept(tree):
    """It differs in its last digits between builds: it goes into the weights behind it."""
    ratio = 1 + 1e-7
    set_option(tree, "readouts.1.non_linearity.acts.0", "cst", SILU_FACTOR * ratio)
    name = "readouts.1.linear_2.weight"
    source, expected = read_source(Stored.of(tree)), golden("trained").source
    assert torch.allclose(source.tensors[name], expected.tensors[name] * ratio, rtol=1e-14)


@pytest.mark.parametrize(
    "option, value", [("correlation", 9), ("heads", []), ("num_cutoff_basis", 1)]
)
def test_hyperparameters_out_of_range(option, value):
    source = golden("trained").source
    option = {"num_cutoff_basis": "num_polynomial_cutoff"}.get(option, option)
    source.options[option] = value
    with pytest.raises(UserError, match="not supported"):
        to_model(source)
