"""Labels against published ones: revised MD17 ethanol, RKS PBE/def2-SVP with density fitting."""

from pathlib import Path

import numpy as np
import pytest

from mace_core.config.labellers import PySCFLabeller
from mace_core.conventions import MEV, REF_ENERGY, REF_FORCES
from mace_core.frames import read_frames
from mace_core.label.run import label_frames
from mace_core.label.store import LabelStore

PUBLISHED = Path(__file__).parents[2] / "config" / "data" / "rmd17_ethanol_test200.extxyz"


@pytest.mark.slow
@pytest.mark.engine("pyscf")
def test_labels_are_the_published_ones(tmp_path):
    published = read_frames(PUBLISHED, "::40")
    settings = PySCFLabeller(xc="pbe", basis="def2-svp", density_fit=True)
    labelled = label_frames(published, settings, LabelStore(tmp_path, settings))
    labels = [outcome.record.to_atoms() for outcome in labelled]

    def both(key, where):
        return [
            (getattr(a, where)[key], getattr(b, where)[key])
            for a, b in zip(labels, published, strict=True)
        ]

    energy = np.array([ours - theirs for ours, theirs in both(REF_ENERGY, "info")]) / MEV
    forces = np.array([ours - theirs for ours, theirs in both(REF_FORCES, "arrays")]) / MEV
    constant = energy.mean()
    rest = np.abs(energy - constant).max()
    print(
        f"\n{len(labels)} frames: forces {np.abs(forces).mean():.2f} meV/Å mean, "
        f"{np.abs(forces).max():.1f} at most; energies within {rest:.2f} "
        f"meV after a constant of {constant:.2f} meV"
    )
    assert np.abs(forces).mean() < 0.5
    assert rest < 0.5
