"""A campaign's files for tests of what reads them: EMT labels, a committee of known error."""

from types import SimpleNamespace

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mace_core.config.campaign import Config, parse_config
from mace_core.frames import canonical, write_frames
from mace_core.label.store import LabelStore, Record
from mace_core.layout import Layout
from mace_core.plan import write_plan
from mace_core.storage import write_json


def settings(**sections) -> Config:
    """Paths are relative to the working directory: tests change into a temporary one."""
    values = {
        "campaign": {"name": "cu", "max_generations": 4},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["cu.xyz"]},
        "train": {"members": 2},
        "explore": {"walkers": 2, "temperatures": [300, 900]},
        "select": {"max_frames": 4, "audit_frames": 6},
        "stop": {"target_force_mae": 30, "max_labels": 200, "min_audit_frames": 6}
        | {"exam_length": 0},
    }
    for section, keys in sections.items():
        values[section] = values.get(section, {}) | keys
    return parse_config(values, where="test")


#: Every frame is of it; regular frames of each walk.
STRATUM, N_VISITED = "cu.xyz", 5


def visit(atoms: Atoms, config: Config, group: str, walker: int, k: int) -> Atoms:
    """Say of a frame that a walker kept it as its k-th one."""
    atoms.info |= {
        "stratum": STRATUM,
        "group": group,
        "walker": walker,
        "md_step": config.explore.save_interval * (k + 1),
        "displacement": 0.2,
    }
    return atoms


def layout_of(config: Config) -> Layout:
    return Layout(config.campaign.results_dir, config.campaign.name)


def copper(seed: int) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=seed)
    return canonical(atoms)


class WrongCommittee:
    """EMT forces plus ``error`` on one component of each atom; the spread is ``spread``."""

    def __init__(self, error: float = 0.03, spread: float = 0.01, shift: float = 0.0):
        self.error, self.spread, self.shift = error, spread, shift
        self.seen: list[str] = []

    def predict(self, frames, batch_size=8, stress=False):
        found = []
        for atoms in frames:
            self.seen.append(atoms.info.get("frame_id", ""))
            plain = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            plain.calc = EMT()
            forces = plain.get_forces().copy()
            forces[:, 0] += self.error
            std = np.full(len(atoms), self.spread)
            found.append(
                SimpleNamespace(
                    energy=plain.get_potential_energy() + self.shift * len(atoms),
                    forces=forces,
                    forces_std=std,
                    max_forces_std=float(std.max()),
                    stress=plain.get_stress() if stress else None,
                )
            )
        return found


def label(config: Config, frames: list[Atoms]) -> list[dict]:
    """Label frames into the store; the entries of merged.json."""
    store = LabelStore(config.campaign.label_store, config.labeller)
    entries = []
    for atoms in frames:
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces().tolist()
        stress = atoms.get_stress().tolist() if atoms.pbc.all() else None
        atoms.calc = None
        store.put(
            Record.of_frame(
                atoms,
                store.theory_id,
                status="converged",
                reason="",
                energy=energy,
                forces=forces,
                stress=stress,
            )
        )
        entries.append(
            {
                "frame_id": atoms.info["frame_id"],
                "role": atoms.info["role"],
                "status": "converged",
                "reason": "",
                "group": atoms.info.get("group", ""),
                "why_picked": "",
                "wall_seconds": 1.0,
                "computed": True,
            }
        )
    return entries


def write_merged(config: Config, g: int, entries: list[dict], theory: str) -> None:
    counts: dict[str, int] = {}
    for entry in entries:
        counts[entry["status"]] = counts.get(entry["status"], 0) + 1
    write_json(
        layout_of(config).merged(g),
        {
            "generation": g,
            "theory": theory,
            "labels": entries,
            "counts": counts,
            "calls": len(entries),
            "wall_seconds": float(len(entries)),
        },
    )


def generation_0(
    config: Config, n: int = 4, fail: tuple[int, ...] = (), isolated: str = "converged"
):
    """Plan, selected frames and merged labels of generation 0; returns the plan."""
    layout = layout_of(config)
    plan, _ = write_plan(config, 0, layout.plan(0))
    frames = [copper(seed) for seed in range(n)]
    atom = canonical(Atoms("Cu", info={"config_type": "IsolatedAtom"}))
    for atoms in frames:
        atoms.info["role"] = "seed"
    atom.info["role"] = "isolated"
    write_frames(layout.selected(0), [*frames, atom])
    entries = label(config, [*frames, atom])
    for k in fail:
        entries[k] |= {"status": "unconverged", "reason": "told to"}
    entries[-1]["status"] = isolated
    write_merged(config, 0, entries, plan["theory"])
    return plan


def generation(
    config: Config,
    g: int,
    train: list[Atoms],
    ends: tuple[str, ...] = ("completed", "completed"),
    n_audit: int = 6,
    factor: float = 4.0,
    candidates: int = 9,
):
    """Everything of generation ``g`` up to its merged labels; returns the plan."""
    layout = layout_of(config)
    plan, _ = write_plan(config, g, layout.plan(g))
    write_frames(layout.dataset(g) / "train.extxyz", train)
    write_frames(layout.dataset(g) / "valid.extxyz", [copper(50)])
    write_json(
        layout.dataset(g) / "dataset.json",
        {"n_train": len(train), "n_valid": 1, "sha256": "0" * 64, "elements": ["Cu"]}
        | {"strata": {STRATUM: {"labels": 5, "n_train": len(train), "n_valid": 1}}},
    )
    write_json(
        layout.committee(g),
        {
            "generation": g,
            "members": ["m0", "m1"],
            "dataset": "0" * 64,
            "calibration": {
                "factor": factor,
                "coverage": 0.9,
                "level": 0.9,
                "n_frames": 9,
                "source": "test",
            },
        },
    )
    for w, end in enumerate(ends):
        group = ("300K", "900K")[w % 2]
        visited = [
            visit(copper(10_000 * g + 100 * w + k), config, group, w, k) for k in range(N_VISITED)
        ]
        for atoms in visited:
            atoms.arrays["MACE_forces_std"] = np.full(len(atoms), 0.01)
        write_frames(layout.walker(g, w), visited)
        write_json(
            layout.walker(g, w).with_suffix(".json"),
            {
                "walker": w,
                "group": group,
                "end": end,
                "time_fs": 50.0,
                "steps_asked": config.explore.steps,
                "steps_done": config.explore.steps,
                "max_displacement": 0.3,
                "stratum": STRATUM,
                "exam": False,
            },
        )
    frames = [copper(1000 * g + k) for k in range(n_audit + 3)]
    for k, atoms in enumerate(frames):
        visit(atoms, config, ("300K", "900K")[k % 2], k % 2, k)
        atoms.info |= {"role": "audit" if k < n_audit else "picked", "MACE_uncertainty": 99.0}
    write_frames(layout.selected(g), frames)
    write_json(
        layout.selected(g).parent / "select.json",
        {"generation": g, "candidates": candidates, "picked": 3, "audit": n_audit, "exam": None},
    )
    write_merged(config, g, label(config, frames), plan["theory"])
    return plan
