"""Part of a model is the same function."""

import pytest
import torch
from ase import Atoms
from golden_tools import golden
from mace_tools import ARCHITECTURES, small_model

from mace_core.convert.select import select
from mace_core.convert.weights import to_model
from mace_core.errors import UserError
from mace_core.model.graph import graph_of

FRAME = Atoms("COOC", [[0, 0, 0], [1.2, 0.1, 0], [0, 1.3, 0.2], [1.1, 1.2, 1.0]])


def assert_same(model, part, head):
    known = [
        graph_of(FRAME, m.r_max, m.elements, m.dtype, head=h) for m, h in ((model, head), (part, 0))
    ]
    a, b = model(known[0]), part(known[1])
    close = {"rtol": 0, "atol": 1e-9} if model.dtype == torch.float64 else {"rtol": 1e-5, "atol": 0}
    assert torch.allclose(a.node_energy, b.node_energy, **close)
    assert (a.forces - b.forces).abs().max() <= 1e-5 * a.forces.abs().max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fewer_elements_and_one_head(name):
    model = small_model(**ARCHITECTURES[name])
    for k, head in enumerate(model.heads):
        part = select(model, [8, 6], head)
        assert part.elements == [6, 8]
        assert part.heads == ["Default"]
        assert_same(model, part, k)


def test_of_89_elements():
    model = to_model(golden("foundation").source)
    part = select(model, [6, 8], "replay")
    sizes = [sum(p.numel() for p in m.parameters()) for m in (model, part)]
    assert sizes[1] < sizes[0] / 4
    assert_same(model, part, model.heads.index("replay"))


def test_what_is_not_there():
    with pytest.raises(UserError, match="Fe"):
        select(small_model(), [8, 26])
    with pytest.raises(UserError, match="no head 'pbe'"):
        select(small_model(), head="pbe")
