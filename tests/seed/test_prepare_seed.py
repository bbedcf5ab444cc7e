"""Generation 0's frames: what they are, that they are sane, that they say where they come from."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from mace_core.config.campaign import parse_config
from mace_core.contacts import close_contact
from mace_core.conventions import CONFIG_TYPE, ISOLATED_ATOM
from mace_core.errors import UserError
from mace_core.frames import canonical, frame_id, read_frames, write_frames
from mace_core.seed.crystals import vacancy_sites
from mace_core.seed.perturb import random_strain, strained
from mace_core.seed.prepare import prepare_seed


def config(engine="emt", data=None, campaign=None, explore=None, **seed):
    return parse_config(
        {
            "campaign": {"name": "t", **(campaign or {})},
            "labeller": {"engine": engine},
            "seed": seed,
            "data": data or {},
            "explore": explore or {},
        },
        where="test",
    )


def of_role(frames, role):
    return [f for f in frames if f.info["role"] == role]


@pytest.fixture
def ethanol(tmp_path):
    path = tmp_path / "ethanol.xyz"
    write(path, molecule("CH3CH2OH"))
    return str(path)


@pytest.fixture
def copper(tmp_path):
    path = tmp_path / "cu.cif"
    write(path, bulk("Cu", cubic=True))
    return str(path)


def test_one_geometry_gives_copies_and_isolated_atoms(ethanol, tmp_path):
    out = tmp_path / "out" / "frames.extxyz"
    written = prepare_seed(
        config(structures=[ethanol], n_frames=6, rattle_std=[0.02, 0.1], charge=1, spin=1), [], out
    )
    frames = read_frames(out)
    assert [f.info["frame_id"] for f in frames] == [f.info["frame_id"] for f in written]
    seeds, isolated = of_role(frames, "seed"), of_role(frames, "isolated")
    assert len(frames) == len(seeds) + len(isolated)
    assert len(seeds) == 7
    assert all(f.info["charge"] == 1 and f.info["spin"] == 1 for f in seeds)
    assert sorted(f.symbols[0] for f in isolated) == ["C", "H", "O"]
    for f in isolated:
        assert len(f) == 1 and not f.pbc.any() and f.info[CONFIG_TYPE] == ISOLATED_ATOM
    for f in frames:
        assert f.info["frame_id"] == frame_id(f)
        assert f.info["generation"] == 0
        assert f.positions == pytest.approx(np.round(f.positions, 6), abs=1e-12)
    assert seeds[0].info["why_picked"] == "as given in ethanol.xyz"
    assert seeds[0].positions == pytest.approx(molecule("CH3CH2OH").positions, abs=1e-6)
    assert seeds[2].info["why_picked"] == "rattled 0.1 Å from ethanol.xyz"


def test_displacements_have_the_standard_deviations_asked_in_turn(ethanol, tmp_path):
    cfg = config(structures=[ethanol], n_frames=60, rattle_std=[0.01, 0.05])
    seeds = of_role(prepare_seed(cfg, [], tmp_path / "f.extxyz"), "seed")
    moves = np.array([f.positions - seeds[0].positions for f in seeds[1:]])
    # 810 coordinates each: the standard error of a standard deviation is 2.5 %.
    assert moves[0::2].std() == pytest.approx(0.01, rel=0.1)
    assert moves[1::2].std() == pytest.approx(0.05, rel=0.1)


def test_every_structure_meets_every_standard_deviation(ethanol, copper, tmp_path):
    cfg = config(structures=[ethanol, copper], n_frames=4, rattle_std=[0.01, 0.05])
    why = [f.info["why_picked"] for f in prepare_seed(cfg, [], tmp_path / "f.extxyz")]
    for name in ("ethanol.xyz", "cu.cif"):
        for std in ("0.01", "0.05"):
            assert any(name in w and f"rattled {std} Å" in w for w in why)


def test_draws_follow_from_the_campaigns_seed_alone(ethanol, tmp_path):
    def ids(seed, n):
        cfg = config(structures=[ethanol], n_frames=n, campaign={"seed": seed})
        frames = prepare_seed(cfg, [], tmp_path / "f.extxyz")
        return [f.info["frame_id"] for f in of_role(frames, "seed")]

    assert ids(3, 5) == ids(3, 5)
    assert ids(3, 5) == ids(3, 7)[:6]  # asking for more changes none of the earlier ones
    assert ids(3, 5)[1:] != ids(4, 5)[1:]


@given(
    largest=st.floats(0.001, 0.4),
    seed=st.integers(0, 2**32 - 1),
    pbc=st.sampled_from([(1, 1, 1), (1, 1, 0), (0, 1, 0)]),
)
@settings(max_examples=60, deadline=None)
def test_strain_is_symmetric_bounded_and_moves_atoms_with_the_cell(largest, seed, pbc):
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.pbc = pbc
    frame = strained(atoms, largest, np.random.default_rng(seed))
    deformation = np.linalg.solve(atoms.cell[:], frame.cell[:])
    strain = deformation - np.eye(3)
    assert strain == pytest.approx(strain.T, abs=1e-12)
    assert np.abs(strain).max() <= largest + 1e-12
    outside = [k for k in range(3) if not pbc[k]]
    assert np.abs(strain[outside]).max(initial=0) < 1e-12  # the cell is orthogonal here
    assert frame.get_scaled_positions(wrap=False) == pytest.approx(
        atoms.get_scaled_positions(wrap=False), abs=1e-10
    )


def test_strain_of_a_slab_stays_in_its_plane_whatever_the_cell():
    slab = fcc111("Cu", (2, 2, 2), vacuum=5)
    slab.rotate(37, (1, 2, 3), rotate_cell=True)
    slab.pbc = (1, 1, 0)
    strain = random_strain(slab.pbc, slab.cell[:], 0.1, np.random.default_rng(0))
    normal = np.cross(slab.cell[0], slab.cell[1])
    assert np.abs(strain).max() > 0.01
    assert strain @ normal == pytest.approx(np.zeros(3), abs=1e-10)


def test_no_strain_for_molecules_and_symmetric_strain_on_disk(ethanol, copper, tmp_path):
    cfg = config(structures=[ethanol, copper], n_frames=8, strain_max=0.1)
    seeds = of_role(prepare_seed(cfg, [], tmp_path / "f.extxyz"), "seed")
    cell = bulk("Cu", cubic=True).cell[:]
    crystals = [f for f in seeds if f.pbc.any()]
    assert len(crystals) == 5
    for f in crystals[1:]:
        strain = np.linalg.solve(cell, f.cell[:]) - np.eye(3)
        assert strain == pytest.approx(strain.T, abs=1e-5)
        assert 0 < np.abs(strain).max() <= 0.1 + 1e-5
    assert all(not f.cell.any() for f in seeds if not f.pbc.any())


def test_supercells_vacancies_and_substitutions(copper, tmp_path):
    cfg = config(
        structures=[copper],
        supercell=[2, 2, 1],
        n_frames=2,
        vacancies=3,
        substitutions=[
            {"element": "Cu", "by": "Au", "fraction": 0.25},
            {"element": "Cu", "by": "Ag", "fraction": 0.001},
        ],
    )
    frames = prepare_seed(cfg, [], tmp_path / "f.extxyz")
    seeds = of_role(frames, "seed")
    formulas = [f.get_chemical_formula() for f in seeds]
    # The structure, a copy of it and one of the first defect, then one frame of each defect.
    assert formulas == ["Cu16", "Cu16", "Cu15"] + ["Cu15"] * 3 + ["Au4Cu12", "AgCu15"]
    for f in seeds:
        assert f.pbc.all()
        assert f.get_volume() == pytest.approx(16 * 3.61**3 / 4, rel=0.2)
    assert "missing from cu.cif (2×2×1)" in seeds[3].info["why_picked"]
    assert seeds[-2].info["why_picked"].startswith("4 of 16 Cu replaced by Au in cu.cif (2×2×1)")
    # Substitutes need E0s too.
    assert sorted(f.symbols[0] for f in of_role(frames, "isolated")) == ["Ag", "Au", "Cu"]


def test_vacancies_visit_every_kind_of_site_before_repeating():
    crystal = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    for seed in range(5):
        sites = vacancy_sites(crystal, 2, np.random.default_rng(seed))
        assert {crystal.symbols[k] for k in sites} == {"Na", "Cl"}
        sites = vacancy_sites(crystal, 8, np.random.default_rng(seed))
        assert sorted(sites) == list(range(8))
        assert len(vacancy_sites(crystal, 11, np.random.default_rng(seed))) == 11


@given(std=st.floats(0.05, 0.3), seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_no_two_atoms_too_close(std, seed):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "w.xyz", molecule("H2O"))
        cfg = config(
            structures=[f"{folder}/w.xyz"],
            n_frames=10,
            rattle_std=[std],
            campaign={"seed": seed},
            explore={"min_distance_factor": 0.8},
        )
        for f in prepare_seed(cfg, [], Path(folder) / "f.extxyz"):
            assert close_contact(f, 0.8) is None


def test_impossible_rattling_ends_in_a_message(copper, tmp_path):
    cfg = config(structures=[copper], supercell=[2, 2, 2], rattle_std=[0.8])
    with pytest.raises(UserError, match="too close in each of 100 random draws"):
        prepare_seed(cfg, [], tmp_path / "f.extxyz")
    assert not (tmp_path / "f.extxyz").exists()


def test_a_structure_with_atoms_on_top_of_each_other_is_refused(tmp_path):
    write(tmp_path / "bad.xyz", Atoms("CC", positions=[[0, 0, 0], [0, 0, 0.3]]))
    with pytest.raises(UserError, match=r"C0 and C1 are 0\.30 Å apart"):
        prepare_seed(config(structures=[str(tmp_path / "bad.xyz")]), [], tmp_path / "f.extxyz")


def test_the_same_structure_twice_is_labelled_once(ethanol, tmp_path):
    cfg = config(structures=[ethanol, ethanol], n_frames=0)
    frames = prepare_seed(cfg, [], tmp_path / "f.extxyz")
    assert len(of_role(frames, "seed")) == 1


def test_all_frames_of_a_file_are_taken(tmp_path):
    path = tmp_path / "two.extxyz"
    write(path, [molecule("H2O"), molecule("CH4")])
    frames = prepare_seed(config(structures=[str(path)], n_frames=2), [], tmp_path / "f.extxyz")
    seeds = of_role(frames, "seed")
    assert [f.get_chemical_formula() for f in seeds] == ["H2O", "CH4", "H2O", "CH4"]
    assert seeds[3].info["why_picked"] == "rattled 0.03 Å from two.extxyz frame 1"


def test_labelled_data_alone_give_isolated_atoms_alone(tmp_path):
    labelled = tmp_path / "mine.extxyz"
    write_frames(labelled, [canonical(molecule("CH4")), canonical(molecule("NH3"))])
    cfg = config(data={"labelled": [str(labelled)]})
    frames = prepare_seed(cfg, [labelled], tmp_path / "f.extxyz")
    assert {f.info["role"] for f in frames} == {"isolated"}
    assert sorted(f.symbols[0] for f in frames) == ["C", "H", "N"]


@pytest.mark.parametrize("E0s", ["average", {"H": -13.0, "C": -1030.0, "O": -2040.0}])
def test_no_isolated_atoms_when_E0s_come_from_elsewhere(ethanol, tmp_path, E0s):
    cfg = config(structures=[ethanol], n_frames=1, data={"E0s": E0s})
    frames = prepare_seed(cfg, [], tmp_path / "f.extxyz")
    assert len(frames) == 2 and not of_role(frames, "isolated")


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ({"vacancies": 1}, "need a periodic structure"),
        ({"substitutions": [{"element": "H", "by": "F"}]}, "need a periodic structure"),
    ],
)
def test_defects_of_a_molecule_are_refused(ethanol, tmp_path, seed, said):
    with pytest.raises(UserError, match=said):
        prepare_seed(config(structures=[ethanol], **seed), [], tmp_path / "f.extxyz")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"element": "Fe", "by": "Au"}, "no periodic structure has Fe"),
        ({"element": "Cu", "by": "Xx"}, "'Xx' is not an element"),
    ],
)
def test_wrong_substitutions_are_refused(copper, tmp_path, rule, said):
    with pytest.raises(UserError, match=said):
        prepare_seed(config(structures=[copper], substitutions=[rule]), [], tmp_path / "f.extxyz")


def test_no_vacancy_in_a_cell_of_one_atom(tmp_path):
    write(tmp_path / "cu.cif", bulk("Cu"))
    with pytest.raises(UserError, match="nothing is left"):
        prepare_seed(
            config(structures=[str(tmp_path / "cu.cif")], vacancies=1), [], tmp_path / "f.extxyz"
        )


def test_a_spin_that_the_electrons_cannot_have_is_said_before_any_DFT(ethanol, tmp_path):
    with pytest.raises(UserError, match="26 electrons cannot have"):
        prepare_seed(
            config(engine="pyscf", structures=[ethanol], spin=1), [], tmp_path / "f.extxyz"
        )


def test_cheap_md_visits_new_frames_and_does_so_again_alike(copper, ethanol, tmp_path):
    md = {"labeller": {"engine": "emt"}, "n_frames": 3, "interval": 5, "temperature": 400}
    cfg = config(structures=[copper, ethanol], n_frames=0, md=md)
    frames = prepare_seed(cfg, [], tmp_path / "f.extxyz")
    seeds = of_role(frames, "seed")
    assert [f.info["why_picked"] for f in seeds[2:]] == [
        "MD at 400 K by emt, step 5, of cu.cif",
        "MD at 400 K by emt, step 10, of cu.cif",
        "MD at 400 K by emt, step 5, of ethanol.xyz",
    ]
    moved = np.linalg.norm(seeds[3].positions - seeds[0].positions, axis=1)
    assert 0.001 < moved.max() < 1.0
    again = prepare_seed(cfg, [], tmp_path / "g.extxyz")
    assert [f.info["frame_id"] for f in again] == [f.info["frame_id"] for f in frames]


def test_cheap_md_that_fails_says_what_to_change(ethanol, tmp_path):
    write(tmp_path / "sih4.xyz", molecule("SiH4"))
    md = {"labeller": {"engine": "emt"}}
    cfg = config(structures=[str(tmp_path / "sih4.xyz")], md=md)
    with pytest.raises(UserError, match=r"emt failed after step 0[^$]*seed\.md\.temperature"):
        prepare_seed(cfg, [], tmp_path / "f.extxyz")


def test_cheap_md_with_tblite_is_quiet_and_keeps_charge(tmp_path, capfd):
    pytest.importorskip("tblite")
    ion = molecule("OH")
    ion.info = {"charge": -1, "spin": 0}
    write(tmp_path / "oh.extxyz", ion)
    md = {"labeller": {"engine": "tblite"}, "n_frames": 2, "interval": 3}
    cfg = config(structures=[str(tmp_path / "oh.extxyz")], n_frames=0, md=md)
    seeds = of_role(prepare_seed(cfg, [], tmp_path / "f.extxyz"), "seed")
    assert len(seeds) == 3
    assert all(f.info["charge"] == -1 for f in seeds)
    assert "iteration" not in capfd.readouterr().out.lower()
