"""Wrong labels among sound ones are doubted, sound ones are not."""

import numpy as np
import pytest
from ase.build import bulk

from mace_core.assess.outliers import LEAST_FRAMES, doubts, outliers, times_usual
from mace_core.frames import frame_id

HARTREE, BOHR = 27.211386, 0.529177


def scored(n=9, seed=0, error=0.03, scale=1.0):
    """Frames whose errors are of the size that the committee's spread says, as chance has it."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=1000 * seed + k)
        forces = rng.normal(0, 1.0, (len(atoms), 3))
        size = error * rng.lognormal(0, 0.5)
        atoms.arrays["REF_forces"] = forces
        atoms.arrays["MACE_forces"] = forces + rng.normal(0, size, forces.shape)
        spread = np.linalg.norm(rng.normal(0, size, (3, len(atoms), 3)), axis=(0, 2)) / np.sqrt(2)
        atoms.arrays["MACE_forces_std"] = scale * spread
        energy = -14.0 + rng.normal(0, 0.1)
        atoms.info |= {
            "frame_id": frame_id(atoms),
            "role": "audit" if k < n // 2 else "picked",
            "REF_energy": energy,
            # Two levels of theory, or other E0s: a constant is no error.
            "MACE_energy": energy + len(atoms) * (0.7 + rng.normal(0, 0.1 * size)),
        }
        frames.append(atoms)
    return frames


def one_eV(atoms):
    atoms.info["REF_energy"] += 1.0


def twice_on_one_atom(atoms):
    atoms.arrays["REF_forces"][2] = [0.3, -4.0, 1.1]
    atoms.arrays["MACE_forces"][2] = atoms.arrays["REF_forces"][2] + 0.02
    atoms.arrays["REF_forces"][2] *= 2


def hartree(atoms):
    atoms.info["REF_energy"] /= HARTREE
    atoms.arrays["REF_forces"] /= HARTREE / BOHR


def kcal(atoms):
    atoms.info["REF_energy"] *= 23.06
    atoms.arrays["REF_forces"] *= 23.06


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("corrupt", "quantities"),
    [
        (one_eV, ["energy"]),
        (twice_on_one_atom, ["forces"]),
        (hartree, ["energy", "forces"]),
        (kcal, ["energy", "forces"]),
    ],
)
def test_a_wrong_label_is_found_among_sound_ones(corrupt, quantities, seed):
    frames = scored(seed=seed)
    assert outliers(frames, 20) == []
    corrupt(frames[4])
    (entry,) = outliers(frames, 20)
    assert entry["frame_id"] == frames[4].info["frame_id"]
    assert entry["role"] == "picked"
    assert entry["quantities"] == quantities
    for quantity in quantities:
        assert entry["times_usual"][quantity] > 20
        assert f"{entry['error'][quantity]:.3g}" in entry["reason"]
    assert entry["uncertainty"] == pytest.approx(frames[4].arrays["MACE_forces_std"].max())
    assert outliers(frames, None) == []


def test_what_is_said_has_numbers_and_units():
    frames = scored()
    one_eV(frames[0])
    (entry,) = outliers(frames, 20)
    # 1 eV on four atoms, after the common constant; the models' own error is a few meV.
    assert entry["error"]["energy"] == pytest.approx(0.25, abs=0.02)
    assert "eV/atom off the committee's" in entry["reason"]
    assert "label.outlier_factor is 20" in entry["reason"]


def test_no_sound_label_is_doubted():
    assert not [entry for seed in range(100) for entry in outliers(scored(seed=seed), 20)]


def test_the_uncertaintys_scale_does_not_matter():
    """A committee that is too sure of itself, by a hundred times, on all frames."""
    plain, sure = scored(), scored(scale=0.01)
    for frames in (plain, sure):
        one_eV(frames[3])
        twice_on_one_atom(frames[6])
    found, again = outliers(plain, 20), outliers(sure, 20)
    assert [e["frame_id"] for e in found] == [plain[k].info["frame_id"] for k in (3, 6)]
    for one, other in zip(found, again, strict=True):
        assert one["times_usual"] == pytest.approx(other["times_usual"])
        assert one["reason"] == other["reason"]


def test_a_large_error_is_none_where_the_committee_says_so():
    frames = scored()
    twice_on_one_atom(frames[5])
    frames[5].arrays["MACE_forces_std"] = frames[5].arrays["MACE_forces_std"] * 100
    assert outliers(frames, 20) == []


@pytest.mark.parametrize("n", [2, 3, 4, 9, 50])
def test_usual_is_the_median_of_all_others(n):
    rng = np.random.default_rng(n)
    for decimals in (1, 12):  # with ties and without
        error, spread = rng.exponential(size=n).round(decimals), rng.uniform(1, 2, n)
        ratio = error / spread
        others = np.array([np.median(np.delete(ratio, k)) for k in range(n)])
        some = others > 0
        np.testing.assert_array_equal(times_usual(error, spread)[some], ratio[some] / others[some])


def test_small_errors_are_doubted_by_nobody():
    """Below the floors, whatever the ratio: 40 meV/atom, 0.9 eV/Å, and a committee of one mind."""
    frames = scored(error=1e-4)
    frames[1].info["REF_energy"] += 0.16
    frames[2].arrays["REF_forces"][0, 0] += 0.9
    ratio = times_usual(np.array([0.04, 1e-5, 1e-5]), np.array([1e-4] * 3))
    assert ratio[0] > 1000
    assert outliers(frames, 20) == []
    frames[1].info["REF_energy"] += 0.08
    frames[2].arrays["REF_forces"][0, 0] += 0.2
    assert len(outliers(frames, 20)) == 2


def test_few_frames_do_not_show_what_is_usual():
    for n, found in ((LEAST_FRAMES - 1, 0), (LEAST_FRAMES, 1)):
        frames = scored(n)
        kcal(frames[0])
        assert len(outliers(frames, 20)) == found


def test_several_wrong_labels_do_not_hide_each_other():
    frames = scored(10)
    for k in (0, 3, 6, 9):
        kcal(frames[k])
    assert len(outliers(frames, 20)) == 4


def test_a_spread_of_zero_is_no_number():
    frames = scored()
    one_eV(frames[2])
    frames[2].arrays["MACE_forces_std"] = np.zeros(4)
    (entry,) = outliers(frames, 20)
    assert entry["times_usual"]["energy"] is None  # infinite, which JSON cannot say
    assert "any multiple" in entry["reason"]
    for atoms in frames:
        atoms.arrays["MACE_forces_std"] = np.zeros(4)
    assert outliers(frames, 20) == []  # no committee at all


def test_doubts_of_all_generations_by_frame():
    entry = {"frame_id": "f", "role": "audit", "reason": "energy off"}
    assert doubts(
        [{"generation": 1, "quarantine": [entry]}, {"generation": 0}, {"generation": 2}]
    ) == {"f": "committee of generation 1: energy off"}
