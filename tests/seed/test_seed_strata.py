"""Generation 0 by strata: every structure and composition that was asked for gets its share."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from mace_core.config.campaign import parse_config
from mace_core.frames import read_frames
from mace_core.seed.prepare import prepare_seed
from mace_core.seed.structures import distinct_names


def seeds_of(folder, seed=1, **section):
    config = parse_config(
        {
            "campaign": {"name": "t", "seed": seed},
            "labeller": {"engine": "emt"},
            "seed": section,
        },
        where="test",
    )
    prepare_seed(config, [], folder / "frames.extxyz")
    frames = read_frames(folder / "frames.extxyz")
    for atoms in frames:
        assert ("stratum" in atoms.info) == (atoms.info["role"] == "seed")
    return [atoms for atoms in frames if atoms.info["role"] == "seed"]


@pytest.fixture
def alloy(tmp_path):
    atoms = Atoms(
        "Cu2Au2", cell=[3.87, 3.87, 3.87], pbc=True,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )  # fmt: skip
    write(tmp_path / "CuAu.xyz", atoms, format="extxyz")
    return {
        "structures": [str(tmp_path / "CuAu.xyz")],
        "supercell": [2, 1, 1],
        "rattle_std": [0.05, 0.1],
        "strain_max": 0.03,
        "substitutions": [
            {"element": "Cu", "by": "Au", "fraction": 0.1},
            {"element": "Au", "by": "Cu", "fraction": 0.1},
        ],
    }


STRATA = {
    "CuAu.xyz (2×1×1)": "Au4Cu4",
    "Au5Cu3 from CuAu.xyz (2×1×1)": "Au5Cu3",
    "Au3Cu5 from CuAu.xyz (2×1×1)": "Au3Cu5",
}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_composition_of_an_alloy_can_be_learnt_from(alloy, tmp_path, seed):
    frames = seeds_of(tmp_path, seed, n_frames=20, **alloy)
    assert len(frames) == 23
    for atoms in frames:
        assert STRATA[atoms.info["stratum"]] == atoms.get_chemical_formula(mode="hill")
    counts = Counter(atoms.info["stratum"] for atoms in frames)
    assert set(counts) == set(STRATA) and min(counts.values()) >= 5
    # Several arrangements of each composition: which sites hold gold.
    for name in list(STRATA)[1:]:
        sites = {tuple(a.symbols == "Au") for a in frames if a.info["stratum"] == name}
        assert len(sites) >= 3, name
    cells = {a.cell.tobytes() for a in frames if a.info["stratum"] != "CuAu.xyz (2×1×1)"}
    assert len(cells) > 10  # copies of compositions are strained, like all others


def test_copies_go_round_and_meet_every_standard_deviation(alloy, tmp_path):
    frames = seeds_of(tmp_path, n_frames=6, **alloy)
    copies = frames[1:7]
    assert [a.info["stratum"] for a in copies] == list(STRATA) * 2
    assert [f"{0.05 if k < 3 else 0.1:g} Å" in a.info["why_picked"] for k, a in enumerate(copies)]
    assert (
        copies[1]
        .info["why_picked"]
        .startswith("rattled 0.05 Å and strained from 1 of 4 Cu replaced by Au in CuAu.xyz (2×1×1)")
    )


def test_the_frame_of_each_rule_stays_what_it_is_without_copies(alloy, tmp_path):
    bare = seeds_of(tmp_path, n_frames=0, **alloy)[1:]
    beside = seeds_of(tmp_path, n_frames=9, **alloy)[-2:]
    assert [a.info["frame_id"] for a in bare] == [a.info["frame_id"] for a in beside]
    assert [a.info["stratum"] for a in bare] == list(STRATA)[1:]


def test_vacancies_of_each_element_are_a_composition(tmp_path):
    write(tmp_path / "salt.cif", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    frames = seeds_of(tmp_path, structures=[str(tmp_path / "salt.cif")], n_frames=9, vacancies=3)
    counts = Counter((a.info["stratum"], a.get_chemical_formula(mode="hill")) for a in frames)
    assert set(counts) == {
        ("salt.cif", "Cl4Na4"),
        ("Cl3Na4 from salt.cif", "Cl3Na4"),
        ("Cl4Na3 from salt.cif", "Cl4Na3"),
    }
    assert len(frames) == 1 + 9 + 3 and min(counts.values()) >= 4


def test_isomers_frames_of_a_file_and_cheap_md_belong_to_their_structure(tmp_path):
    write(
        tmp_path / "both.xyz", [molecule("HCN"), Atoms("HNC", [[0, 0, 0], [0, 0, 1], [0, 0, 2.2]])]
    )
    write(tmp_path / "water.xyz", molecule("H2O"))
    frames = seeds_of(
        tmp_path,
        structures=[str(tmp_path / "both.xyz"), str(tmp_path / "water.xyz")],
        n_frames=6,
        md={"labeller": {"engine": "emt"}, "n_frames": 3, "interval": 2},
    )
    for atoms in frames:
        assert atoms.info["stratum"] in atoms.info["why_picked"]
    counts = Counter(atoms.info["stratum"] for atoms in frames)
    assert counts == {"both.xyz frame 0": 4, "both.xyz frame 1": 4, "water.xyz": 4}


def test_files_of_one_name_are_told_apart(tmp_path):
    for name, symbol in (("a", "Cu"), ("b", "Ag")):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "POSCAR", bulk(symbol, cubic=True), format="vasp")
    frames = seeds_of(tmp_path, structures=[str(tmp_path / n / "POSCAR") for n in "ab"], n_frames=2)
    assert [a.info["stratum"] for a in frames] == ["a/POSCAR", "b/POSCAR"] * 2
    assert distinct_names(["x/a/P", "y/a/P", "z/Q", "z/Q"]) == ["x/a/P", "y/a/P", "Q", "Q"]
    assert distinct_names(["P", "a/P"]) == ["P", "a/P"]


def test_a_rattled_composition_keeps_its_lattice(alloy, tmp_path):
    """Copies are of the crystal's sites: no copy is a copy of an already rattled frame."""
    frames = seeds_of(tmp_path, n_frames=30, **(alloy | {"strain_max": 0.0, "rattle_std": [0.01]}))
    sites = frames[0].positions
    for atoms in frames[1:]:
        moved = (atoms.positions - sites).std()
        assert (
            moved == pytest.approx(0.01, rel=0.5) and np.abs(atoms.positions - sites).max() < 0.06
        )
