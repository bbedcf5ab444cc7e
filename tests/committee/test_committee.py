import numpy as np
import pytest
import torch
from ase import Atoms
from mace_tools import ELEMENTS, FRAMES, TOLERANCE, crystal, ethanol, slab, small_model

from mace_core.committee import Committee, evaluate_frames
from mace_core.conventions import MACE_ENERGY, MACE_FORCES, MACE_FORCES_STD, MACE_STRESS
from mace_core.errors import UserError
from mace_core.model.files import save_model
from mace_core.model.graph import graph_of

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def committee() -> Committee:
    return Committee([small_model(seed) for seed in SEEDS])


def test_mean_and_spread_by_hand(committee):
    """Against numpy on the members' own outputs, one by one."""
    frames = [make(1) for make in FRAMES.values()] + [Atoms("O")]
    predictions = committee.predict(frames, batch_size=2, stress=True)
    assert len(predictions) == len(frames)
    for atoms, p in zip(frames, predictions, strict=True):
        graph = graph_of(atoms, 3.5, ELEMENTS)
        outs = [small_model(seed)(graph, stress=True) for seed in SEEDS]
        E = np.array([out.energy.item() for out in outs])
        F = np.array([out.forces.numpy() for out in outs])
        close = {"atol": TOLERANCE["symmetry"], "rtol": 0}
        np.testing.assert_allclose(p.member_energy, E, **close)
        np.testing.assert_allclose(p.member_forces, F, **close)
        np.testing.assert_allclose(p.energy, sum(E) / 3, **close)
        np.testing.assert_allclose(p.forces, sum(F) / 3, **close)
        # √(Σ_m |F_m − F̄|² / (M − 1)), |·| over the three components.
        spread = [
            np.sqrt(sum(np.sum((F[m, i] - F[:, i].mean(axis=0)) ** 2) for m in range(3)) / 2)
            for i in range(len(atoms))
        ]
        np.testing.assert_allclose(p.forces_std, spread, **close)
        assert p.max_forces_std == pytest.approx(max(spread))
        assert p.energy_std == pytest.approx(np.sqrt(sum((E - sum(E) / 3) ** 2) / 2))
        assert p.node_energy.sum() == pytest.approx(p.energy)
        if atoms.pbc.all():
            xx, yy, zz, yz, xz, xy = p.stress
            mean = sum(out.stress[0].numpy() for out in outs) / 3
            np.testing.assert_allclose([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], mean, **close)
        else:
            assert p.stress is None


def test_batch_size_does_not_matter(committee):
    frames = [ethanol(seed) for seed in range(5)] + [crystal()]
    one, many = (committee.predict(frames, batch_size) for batch_size in (1, 6))
    for a, b in zip(one, many, strict=True):
        np.testing.assert_allclose(a.forces, b.forces, atol=TOLERANCE["symmetry"])
        assert a.energy == pytest.approx(b.energy)
        assert a.stress is None and b.stress is None  # not asked for


def test_no_frames(committee):
    assert committee.predict([]) == [] and committee.descriptors([]) == []


def test_one_model_has_no_spread():
    (p,) = Committee([small_model()]).predict([ethanol()])
    assert np.isnan(p.energy_std) and np.isnan(p.forces_std).all() and np.isfinite(p.forces).all()


def test_descriptors_are_the_first_members(committee):
    frames = [ethanol(), slab()]
    found = committee.descriptors(frames, batch_size=2)
    for atoms, features in zip(frames, found, strict=True):
        expected = small_model(SEEDS[0]).descriptors(graph_of(atoms, 3.5, ELEMENTS))
        np.testing.assert_allclose(features, expected, atol=TOLERANCE["symmetry"])


def test_members_must_fit_together():
    with pytest.raises(UserError, match="at least one"):
        Committee([])
    with pytest.raises(UserError, match="differ in r_max"):
        Committee([small_model(), small_model(r_max=4.0)])
    with pytest.raises(UserError, match="differ in dtype"):
        Committee([small_model(), small_model(dtype=torch.float32)])


def test_load_converts_precision(tmp_path):
    for seed in SEEDS:
        save_model(small_model(seed), tmp_path / str(seed))
    folders = [tmp_path / str(seed) for seed in SEEDS]
    assert Committee.load(folders).dtype == torch.float64
    single = Committee.load(folders, "float32")
    (a,), (b,) = (c.predict([ethanol()]) for c in (Committee.load(folders), single))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(a.forces, b.forces, atol=TOLERANCE["float32"])


def test_evaluated_frames_carry_predictions_only(committee):
    frames = [ethanol(), crystal(), slab()]
    evaluated = evaluate_frames(committee, frames)
    for atoms, frame, p in zip(
        frames, evaluated, committee.predict(frames, stress=True), strict=True
    ):
        assert frame.info[MACE_ENERGY] == pytest.approx(p.energy)
        np.testing.assert_allclose(frame.arrays[MACE_FORCES], p.forces)
        np.testing.assert_allclose(frame.arrays[MACE_FORCES_STD], p.forces_std)
        assert (MACE_STRESS in frame.info) == bool(atoms.pbc.all())
        assert frame.calc is None and MACE_ENERGY not in atoms.info
    (alone,) = evaluate_frames(Committee([small_model()]), [ethanol()])
    assert MACE_FORCES_STD not in alone.arrays
