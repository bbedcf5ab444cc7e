"""How the search for near-duplicates grows with the frames (docs/scale.md).

    python benchmarks/duplicates.py [2500 5000 10000 20000]

Frames are independent rattles of copper (8 atoms in a cell, with and without strain), of ethanol
and of 3BPA (20 frames of MD at 300 K). ``proposed`` are pairs that the tree proposes, ``compared``
those whose telling atoms match, ``made`` the links that are kept. CPU seconds of this process: the
lists of distances, the search, and a split into one block.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read

from mace_core.train import duplicates
from mace_core.train.duplicates import NearDuplicates

COPPER = [bulk("Cu", cubic=True) * (2, 1, 1)]
ETHANOL = [molecule("CH3CH2OH")]
BPA = read(Path(__file__).with_name("data") / "3bpa_300K_first20.extxyz", ":")
#: Name: frames to start from, standard deviation of the rattle (Å), largest strain.
SETS = {
    "copper 0.1 Å, strain 0.03": (COPPER, 0.1, 0.03),
    "copper 0.05 Å, strain 0.03": (COPPER, 0.05, 0.03),
    "copper 0.1 Å": (COPPER, 0.1, 0.0),
    "copper 0.05 Å": (COPPER, 0.05, 0.0),
    "ethanol 0.1 Å": (ETHANOL, 0.1, 0.0),
    "ethanol 0.05 Å": (ETHANOL, 0.05, 0.0),
    "ethanol 0.03 Å": (ETHANOL, 0.03, 0.0),
    "3BPA 0.05 Å": (BPA, 0.05, 0.0),
    "3BPA 0.03 Å": (BPA, 0.03, 0.0),
    "copper 0.01 Å": (COPPER, 0.01, 0.0),
    "copper 0.003 Å": (COPPER, 0.003, 0.0),
    "ethanol 0.003 Å": (ETHANOL, 0.003, 0.0),
}


def rattled(base: list[Atoms], n: int, std: float, strain: float) -> list[Atoms]:
    """n frames: the base in turn, strained and rattled."""
    rng, frames = np.random.default_rng(0), []
    for k in range(n):
        atoms = base[k % len(base)].copy()
        if strain:
            e = rng.uniform(-strain, strain, (3, 3))
            atoms.set_cell(atoms.cell[:] @ (np.eye(3) + (e + e.T) / 2), scale_atoms=True)
        atoms.positions += rng.normal(0, std, atoms.positions.shape)
        frames.append(atoms)
    return frames


def measure(frames: list[Atoms]) -> tuple[int, int, int, int, float, float, float]:
    """Pairs proposed, compared and linked, groups, and seconds (distances, search, groups)."""
    proposed, compared = [], []
    candidates, matched = duplicates._Search._candidates, duplicates._matched

    def counted_candidates(search, *args):
        def counted_matched(*args):
            proposed.append(len(args[1]))
            return matched(*args)

        duplicates._matched = counted_matched
        pairs = candidates(search, *args)
        duplicates._matched = matched
        compared.append(len(pairs))
        return pairs

    duplicates._Search._candidates = counted_candidates
    clock = [time.process_time()]
    duplicates._environments(frames)
    clock.append(time.process_time())
    near = NearDuplicates(frames)
    clock.append(time.process_time())
    groups = len(set(near.components(range(len(frames))).tolist()))
    clock.append(time.process_time())
    duplicates._Search._candidates = candidates
    read_, search, split = np.diff(clock)
    return (
        *(sum(proposed), sum(compared), near._links.nnz // 2, groups),
        *(read_, search - read_, split),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("frames", nargs="*", type=int, default=[2500, 5000, 10000, 20000])
    parser.add_argument("--sets", default="", help="only sets with this in their name")
    args = parser.parse_args()
    titles = ("frames", "proposed", "compared", "made", "groups", "lists", "search", "groups, s")
    print(f"{'set':28}" + "".join(f"{title:>11}" for title in titles))
    for name, (base, std, strain) in SETS.items():
        if args.sets in name:
            for n in args.frames:
                *counts, lists, search, groups = measure(rattled(base, n, std, strain))
                row = "".join(f"{c:11}" for c in (n, *counts))
                print(f"{name:28}{row}{lists:11.2f}{search:11.2f}{groups:11.2f}", flush=True)


if __name__ == "__main__":
    main()
