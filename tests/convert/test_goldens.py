"""The numbers of the real mace-torch 0.3.16, for the weights of its files: `make goldens`."""

import pytest
import torch
from golden_tools import FOLDER, NAMES, golden

from mace_core.convert.files import import_model
from mace_core.convert.weights import from_model, to_model
from mace_core.model.files import load_model
from mace_core.model.graph import graph_of
from mace_core.model.interaction import BLOCKS
from mace_core.model.radial import BASES
from mace_core.model.transform import TRANSFORMS

#: Absolute, eV, eV/Å, eV/Å³ and for features of order 1, in float64.
EXACT = {"energy": 1e-10, "node_energy": 1e-10, "forces": 1e-9, "stress": 1e-9, "node_feats": 1e-10}
#: Of the largest entry, in float32.
RELATIVE = 1e-5
FLOAT32 = [name for name in NAMES if golden(name).source.dtype == torch.float32]


def ours(model, atoms, head: int) -> dict[str, torch.Tensor]:
    """What mace-torch calls energy, node_energy, …"""
    graph = graph_of(atoms, model.r_max, model.elements, model.dtype, head=head)
    out = model(graph, stress=True)
    return {
        "energy": out.energy,
        "node_energy": out.node_energy,
        "forces": out.forces,
        "stress": out.stress,
        "node_feats": model.descriptors(graph, invariants_only=False),
    }


def pairs(model, case):
    """(quantity, ours, theirs) for all frames and heads."""
    for k, atoms in enumerate(case.frames):
        for head in range(len(model.heads)):
            for quantity, value in ours(model, atoms, head).items():
                # In directions that are not periodic mace-torch makes up a cell, and divides by it.
                if quantity == "stress" and not atoms.pbc.all():
                    continue
                # torch has no derivative of its Chebyshev polynomials, and mace-torch's forces
                # leave them out: they are not those of its energy.
                chebyshev = case.source.options["radial_type"] == "chebyshev"
                if quantity in ("forces", "stress") and chebyshev:
                    continue
                yield f"{quantity} of frame {k}", quantity, value, case.numbers[k, head, quantity]


@pytest.mark.parametrize("name", sorted({*NAMES} - {*FLOAT32}))
def test_float64_to_the_last_digits(name):
    case = golden(name)
    model = to_model(case.source)
    for what, quantity, value, expected in pairs(model, case):
        scale = max(1.0, float(expected.abs().max())) if quantity == "node_feats" else 1.0
        error = float((value - expected).abs().max())
        assert error < EXACT[quantity] * scale, what


@pytest.mark.parametrize("name", NAMES)
def test_float32_to_its_precision(name):
    case = golden(name)
    source = case.source
    source.tensors = {key: tensor.float() for key, tensor in source.tensors.items()}
    model = to_model(source)
    assert model.dtype == torch.float32
    for what, _, value, expected in pairs(model, case):
        error = float((value.double() - expected.double()).abs().max())
        assert error <= RELATIVE * max(1.0, float(expected.abs().max())), what


@pytest.mark.parametrize("name", NAMES)
def test_weights_go_back_as_they_came(name):
    source = golden(name).source
    back = from_model(to_model(source))
    assert (back.kind, back.options) == (source.kind, source.options)
    for key, tensor in back.tensors.items():
        assert torch.equal(tensor.flatten(), source.tensors[key].to(tensor.dtype).flatten()), key
    unused = source.tensors.keys() - back.tensors.keys()
    assert all(".contractions." in key for key in unused), unused


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.model")), ids=lambda path: path.stem)
def test_real_files(path, tmp_path):
    model, _ = import_model(path, tmp_path / "model")
    case = golden(path.stem)
    expected = to_model(case.source).state_dict()
    for loaded in (model, load_model(tmp_path / "model")):
        assert loaded.state_dict().keys() == expected.keys()
        for key, tensor in loaded.state_dict().items():
            assert torch.equal(tensor, expected[key]), key


def test_all_that_is_supported_is_covered():
    options = [golden(name).source.options for name in NAMES]

    def values(key):
        return {o[key] for o in options}

    assert {golden(name).source.kind for name in NAMES} == {"MACE", "ScaleShiftMACE"}
    assert values("interaction_first") == values("interaction") == {*BLOCKS}
    assert values("radial_type") == {*BASES}
    assert values("distance_transform") == {"None", *TRANSFORMS}
    assert values("pair_repulsion") == {False, True}
    assert values("correlation") >= {1, 2, 3}
    assert values("num_interactions") >= {1, 2, 3}
    assert values("max_L") >= {0, 1, 2}
    assert values("max_ell") >= {1, 2, 3}
    assert {len(o["heads"]) for o in options} == {1, 2}
    assert max(len(o["atomic_numbers"]) for o in options) == 89
