"""False alarms of the rule that quarantines labels, and wrong labels that it finds.

    python benchmarks/outliers.py results/water             # campaigns that were run
    python benchmarks/outliers.py --emt FOLDER              # runs one on copper in FOLDER, by EMT

The labels of these campaigns are taken to be right, so what is doubted is a false alarm. Then each
label of each generation is made wrong in turn, in four ways. Campaigns with labels in quarantine
count these among the frames.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import yaml
from ase import Atoms

from mace_core.assess.outliers import FLOORS, LEAST_FRAMES, outliers
from mace_core.conventions import MACE_FORCES, REF_ENERGY, REF_FORCES
from mace_core.frames import read_frames

REPOSITORY = Path(__file__).parents[1]
FACTORS = (5, 10, 20, 50)


def energy_1_eV(atoms: Atoms) -> None:
    atoms.info[REF_ENERGY] += 1.0


def force_doubled(atoms: Atoms) -> None:
    """On the atom where it is largest."""
    forces = atoms.arrays[REF_FORCES]
    forces[np.linalg.norm(forces, axis=1).argmax()] *= 2


def force_3_eV(atoms: Atoms) -> None:
    """On one component of one atom, taken from another one: the sum stays zero."""
    atoms.arrays[REF_FORCES][:2, 0] += [3.0, -3.0]


def kcal(atoms: Atoms) -> None:
    """Energy and forces in kcal/mol."""
    atoms.info[REF_ENERGY] *= 23.06
    atoms.arrays[REF_FORCES] *= 23.06


WRONG: tuple[Callable[[Atoms], None], ...] = (energy_1_eV, force_doubled, force_3_eV, kcal)


def generations(campaign: Path) -> Iterator[list[Atoms]]:
    """The frames that each generation's committee was tested on."""
    for folder in sorted(campaign.glob("gen_*/assess")):
        files = [folder / f"{kind}.extxyz" for kind in ("audit", "picked", "quarantine")]
        frames = [atoms for file in files if file.is_file() for atoms in read_frames(file)]
        if len(frames) >= LEAST_FRAMES:
            yield frames


def spoiled(frames: list[Atoms], k: int, wrong: Callable[[Atoms], None]) -> list[Atoms]:
    changed = frames[k].copy()
    wrong(changed)
    return [*frames[:k], changed, *frames[k + 1 :]]


def show(name: str, sets: list[list[Atoms]]) -> None:
    n = sum(map(len, sets))
    if not n:
        print(f"{name}: no generation with {LEAST_FRAMES} frames")
        return
    largest = max(
        float(np.abs(a.arrays[MACE_FORCES] - a.arrays[REF_FORCES]).max()) for s in sets for a in s
    )
    print(
        f"\n{name}: {n} frames of {len(sets)} generations, forces off by up to {largest:.2f} eV/Å"
    )
    heads = "".join(f"{wrong.__name__:>15}" for wrong in WRONG)
    print(f"  factor  false alarms (without floors){heads}   found of {n}")
    for factor in FACTORS:
        alarms = sum(len(outliers(frames, factor)) for frames in sets)
        saved = FLOORS.copy()
        FLOORS.update(dict.fromkeys(FLOORS, 0.0))
        bare = sum(len(outliers(frames, factor)) for frames in sets)
        FLOORS.update(saved)
        found = [
            sum(
                frames[k].info["frame_id"]
                in {entry["frame_id"] for entry in outliers(spoiled(frames, k, wrong), factor)}
                for frames in sets
                for k in range(len(frames))
            )
            for wrong in WRONG
        ]
        counts = "".join(f"{count:>15}" for count in found)
        print(f"  {factor:6d}  {alarms:12d} {f'({bare})':>16}{counts}")


def run_emt(folder: Path) -> Path:
    """A campaign like config/test/emt.yaml with more frames; nothing is done twice."""
    values = yaml.safe_load((REPOSITORY / "config/test/emt.yaml").read_text())
    values["campaign"]["max_generations"] = 4
    values["seed"] |= {"structures": [str(REPOSITORY / "config/test/copper.xyz")], "n_frames": 20}
    values["explore"] |= {"walkers": 4, "steps": 200, "temperatures": [300, 900]}
    values["select"] |= {"max_frames": 12, "audit_frames": 10}
    values["tracking"] = {"enabled": False}
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "emt.yaml"
    config.write_text(yaml.safe_dump(values))
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "1"]
    command += ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "emt.yaml"]
    subprocess.run(
        command,
        cwd=folder,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    return folder / "results" / values["campaign"]["name"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("campaigns", nargs="*", type=Path, help="folders of campaigns")
    parser.add_argument("--emt", type=Path, metavar="FOLDER", help="run a campaign by EMT there")
    args = parser.parse_args()
    campaigns = [*args.campaigns, *([run_emt(args.emt)] if args.emt else [])]
    for campaign in campaigns:
        show(campaign.name, list(generations(campaign)))


if __name__ == "__main__":
    main()
