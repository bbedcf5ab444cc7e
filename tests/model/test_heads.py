"""Several energies of one model: each frame is given the one it asks for."""

import pytest
import torch
from mace_tools import ELEMENTS, TOLERANCE, crystal, ethanol, small_model

from mace_core.config.sections import Model
from mace_core.errors import UserError
from mace_core.model.graph import batch, graph_of
from mace_core.model.model import MACE

HEADS = ["mp", "Default", "r2scan"]
E0S = {name: {1: -1.0 - k, 6: -20.0 - k, 8: -30.0 + k} for k, name in enumerate(HEADS)}
SCALES, SHIFTS = [1.0, 2.0, 0.5], [0.1, -0.2, 0.3]
SMALL = {"r_max": 3.5, "num_channels": 3, "max_ell": 2, "correlation": 2, "radial_MLP": [8]}


def model(heads=HEADS, **changes) -> MACE:
    architecture = Model(**SMALL, MLP_irreps="4x0e", heads=heads, **changes)
    E0s = {name: E0S["mp"] for name in heads} | {k: v for k, v in E0S.items() if k in heads}
    n = len(heads)
    return MACE(architecture, ELEMENTS, E0s, 5.0, SCALES[:n], SHIFTS[:n], seed=3)


def alone(full: MACE, head: int) -> MACE:
    """The same model with this head only."""
    one = MACE(
        full.architecture.model_copy(update={"heads": ["Default"]}),
        full.elements,
        dict(zip(full.elements, full.E0[head].tolist(), strict=True)),
        full.avg_num_neighbors,
        float(full.scale_shift.scale[head]),
        float(full.scale_shift.shift[head]),
    )
    weights = {n: t for n, t in full.state_dict().items() if n in dict(one.named_parameters())}
    units = slice(4 * head, 4 * head + 4)
    weights["readouts.0.weight"] = full.readouts[0].weight[:, [head]]
    weights["readouts.1.weight_1"] = full.readouts[1].weight_1[:, units]
    # The normalisation is by the hidden units of all heads.
    weights["readouts.1.weight_2"] = full.readouts[1].weight_2[units, [head]] / 3**0.5
    one.load_state_dict(weights, strict=False)
    return one


@pytest.mark.parametrize("head", range(3))
def test_a_head_is_a_model_of_its_own(head):
    """E of head k depends on its E0s, readouts, scale and shift only."""
    full = model()
    expected = alone(full, head)(graph_of(crystal(), 3.5, ELEMENTS), stress=True)
    found = full(graph_of(crystal(), 3.5, ELEMENTS, head=head), stress=True)
    for name in ("energy", "node_energy", "forces", "stress"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, atol=TOLERANCE["symmetry"], rtol=0)


def test_frames_of_a_batch_may_ask_for_different_heads():
    full = model()
    frames = [(ethanol(1), 2), (crystal(2), None), (ethanol(3), 0)]
    graphs = [graph_of(atoms, 3.5, ELEMENTS, head=head) for atoms, head in frames]
    together, each = full(batch(graphs)), [full(g) for g in graphs]
    torch.testing.assert_close(together.energy, torch.cat([out.energy for out in each]))
    torch.testing.assert_close(together.forces, torch.cat([out.forces for out in each]))
    assert batch(graphs).head.tolist() == [2, -1, 0]
    assert batch(graphs).to("cpu").head.tolist() == [2, -1, 0]


def test_the_default_head():
    """The only one, or the one called default in any case of letters."""
    graph, asked = graph_of(ethanol(), 3.5, ELEMENTS), graph_of(ethanol(), 3.5, ELEMENTS, head=1)
    assert model().default_head == 1
    assert model()(graph).energy == model()(asked).energy
    assert model(["pbe"]).default_head == model(["a", "default"]).default_head - 1 == 0
    undecided = model(["pbe", "r2scan"])
    assert undecided.default_head is None
    undecided(asked)
    with pytest.raises(UserError, match=r"which head it wants\n.*pbe, r2scan"):
        undecided(graph)


def test_one_set_of_E0s_serves_all_heads():
    full = small_model(heads=HEADS)
    assert torch.equal(full.E0, small_model().E0.expand(3, -1))
    assert full.scale_shift.scale.tolist() == [1.3, 1.3, 1.3]


def test_each_head_needs_its_numbers():
    architecture = Model(**SMALL, heads=HEADS)
    with pytest.raises(UserError, match=r"no E0 for C\n.*head r2scan"):
        MACE(architecture, ELEMENTS, E0S | {"r2scan": {1: 0.0, 8: 0.0}}, 5.0)
    with pytest.raises(UserError, match="2 scales or shifts for 3 heads"):
        MACE(architecture, ELEMENTS, E0S, 5.0, scale=[1.0, 2.0])
