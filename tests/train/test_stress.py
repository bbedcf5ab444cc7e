"""What the defaults learn of a crystal's pressure, which its forces do not say."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from mace_core.conventions import REF_ENERGY, REF_FORCES, REF_STRESS
from mace_core.frames import canonical, write_frames
from mace_core.seed.perturb import rattled, strained
from mace_core.train.member import train_member


def crystals(n, seed):
    rng, frames = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[0] = "Au"
        atoms = canonical(rattled(strained(atoms, 0.04, rng), 0.05, rng))
        atoms.calc = EMT()
        atoms.info[REF_ENERGY], atoms.info[REF_STRESS] = (
            atoms.get_potential_energy(),
            atoms.get_stress(),
        )
        atoms.arrays[REF_FORCES] = atoms.get_forces()
        frames.append(atoms)
    return frames


@pytest.mark.slow
def test_a_few_strained_crystals_teach_energy_and_stress(tmp_path):
    train, valid = crystals(20, 0), crystals(8, 1)
    write_frames(tmp_path / "train.xyz", train)
    write_frames(tmp_path / "valid.xyz", valid)
    (tmp_path / "config.yaml").write_text(
        "campaign: {name: t}\nlabeller: {engine: emt}\n"
        "data: {E0s: average, labelled: [train.xyz]}\n"
        "model: {r_max: 4.0, num_channels: 8, max_L: 0, max_ell: 2, radial_MLP: [16]}\n"
        "train: {max_num_epochs: 60}\n"
    )
    found = train_member(
        tmp_path / "train.xyz",
        tmp_path / "config.yaml",
        tmp_path / "model",
        valid_file=tmp_path / "valid.xyz",
    )["valid"]
    spread = np.std([atoms.info[REF_STRESS] for atoms in valid])
    assert found["stress_mae"] < 0.03 * spread
    assert found["energy_mae"] < 2e-3
