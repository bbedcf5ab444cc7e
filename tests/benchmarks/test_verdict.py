"""The benchmark of whole campaigns: its truth is true, and what is above a bound is counted."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.data import covalent_radii

from mace_core.config.campaign import parse_config
from mace_core.frames import canonical

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def verdict(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import verdict

    return verdict


class OffForGold(Calculator):
    """EMT, but for 0.03 eV/Å on one component of each force, and 0.2 eV per gold atom."""

    implemented_properties = ("energy", "forces", "forces_std", "uncertainty")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        plain.calc = EMT()
        gold = int((atoms.numbers == 79).sum())
        self.results = {
            "energy": plain.get_potential_energy() + 0.2 * gold,
            "forces": plain.get_forces() + np.array([0.03, 0.0, 0.0]),
            "forces_std": np.full(len(atoms), 1.0),
            "uncertainty": 1.0,
        }


def test_the_truth_of_a_potential_of_known_error(verdict, tmp_path):
    values = verdict.configuration("alloy", 1, 6)
    values["explore"] = values["explore"] | {"steps": 20, "save_interval": 5}
    config = parse_config(values, where="test")
    starts = {}
    for n in (1, 2):
        cell = bulk("Cu", a=3.8, cubic=True)
        cell.numbers[:n] = 79
        starts[f"Au{n}"] = [canonical(cell)]
    truth = verdict.true_errors(config, starts, OffForGold(), tmp_path, n_walks=2)
    for n, found in zip((1, 2), truth.values(), strict=True):
        assert found["frames"] == 2 * 2 * 4 and not found["unstable"] + found["unlabelled"]
        assert found["force"] == pytest.approx(0.01, abs=1e-5)  # mean over components
        assert found["energy"] == pytest.approx(0.05 * n, abs=1e-5)
        assert found["force_sem"] < 1e-5 and found["energy_sem"] < 1e-5
    assert len(list(tmp_path.glob("*/*.json"))) == 1 + 2 * 16  # the theory, and each frame's label


def run(outcome="converged", **of_b):
    true = {"force": 0.01, "force_sem": 0.001, "energy": 0.002, "energy_sem": 0.0001}
    true |= {"unstable": 0, "unlabelled": 0}
    printed = {"force_mae": 0.01, "force_mae_high": 0.012, "energy_mae": 0.002}
    printed |= {"energy_mae_high": 0.003}
    return {
        "outcome": outcome,
        "generations": 2,
        "calls": 80,
        "expected": ["a", "b"],
        "truth": {"a": true, "b": true | of_b},
        "printed": {"a": printed, "b": printed},
    }


def test_what_is_above_a_bound_is_counted_where_a_campaign_converged(verdict):
    true, false = run(), run(energy=0.0031)
    unmeasured = run()
    del unmeasured["printed"]["b"]
    assert not verdict.above(true)
    assert verdict.above(false) == ["b: energy"]
    assert verdict.above(unmeasured) == ["b: force not measured", "b: energy not measured"]
    runs = {("alloy", 1): true, ("alloy", 2): false, ("isomers", 1): run("stalled", force=1.0)}
    said = verdict.table(runs)
    assert "2 of 3 campaigns CONVERGED; 1 of these with" in said
    assert "| alloy | 2 | converged | 2 | 80 | a | 10 ± 1 | 10 [12] |" in said
    assert "| b | 10 ± 1 | 10 [12] | 3.1 ± 0.1 | 2 [3] | 0 | 0 | energy |" in said
    assert "1 of 2 campaigns" in verdict.table({("alloy", 1): unmeasured, ("a", 2): run("stalled")})


def test_structures_are_what_they_are_called(verdict):
    (cell,) = verdict.copper_gold().values()
    assert cell.get_chemical_formula() == "Au2Cu2" and cell.pbc.all()
    for name, atoms in (verdict.isomers() | verdict.molecules()).items():
        d = atoms.get_all_distances()
        radii = covalent_radii[atoms.numbers]
        bonded = (d < 1.25 * (radii[:, None] + radii)) & (d > 0)
        counts = {
            tuple(sorted((atoms.symbols[i], atoms.symbols[j])))
            for i, j in zip(*np.nonzero(bonded), strict=True)
        }
        assert bonded.sum() // 2 == len(atoms) - 1, name  # one piece without rings
        assert (("C", "H") in counts) == (name != "hnc")
