"""A small campaign folder in the shapes of docs/contracts.md, written without running anything.

Ethanol-like frames under a harmonic "engine"; the committee's error falls with each generation.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from ase import Atoms
from ase.build import molecule

from mace_core.config import load_config
from mace_core.frames import canonical, dataset_hash, write_frames
from mace_core.layout import Layout
from mace_core.storage import read_json, sha256_json, write_json
from mace_core.tables import write_table

THEORY = "0123456789abcdef"
ENDS = ["completed", "uncertain", "completed", "close_contact"]
FAILURES = [
    ("unconverged", "SCF did not converge in 100 cycles with any of 3 rungs"),
    ("timeout", "no result after 300 s"),
    ("rejected", "forces are not finite <NaN> on atom 4 & 5"),
    ("failed", "pyscf exited with code 139: segmentation fault"),
]
SPRING = 8.0  # eV/Å²


def write_fake_campaign(
    folder: Path,
    *,
    generations: int = 3,
    frozen: bool = True,
    calibrated: bool = True,
    outcome: str = "converged",
    name: str = "ethanol",
    seed: int = 0,
    tracking_uri: str | None = None,
    strata: dict[str, float] | None = None,
) -> Path:
    """Write generations 0 … ``generations`` below ``folder/results`` and the configuration.

    ``strata``: force MAE of each in eV/Å in the last generation, twice that in the one before, and
    so on; see :func:`add_strata`. Without them the assessments are those of an earlier version.

    Returns:
        The configuration's path.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_frames(folder / "ethanol.xyz", [molecule("CH3CH2OH")])
    settings = {
        "campaign": {
            "name": name,
            "results_dir": str(folder / "results"),
            "label_store": str(folder / "labels"),
            "max_generations": max(3, generations),
        },
        "labeller": {"engine": "pyscf", "time_limit": 300},
        "seed": {"structures": [str(folder / "ethanol.xyz")]},
        "train": {"members": 2, "max_num_epochs": 20},
        "explore": {"walkers": 4, "temperatures": [300, 500]},
        "select": {"max_frames": 8, "audit_frames": 6},
        "stop": {"target_force_mae": 40, "streak": 2},
        "tracking": {"uri": tracking_uri or f"sqlite:///{folder / 'mlflow.db'}"},
    }
    if frozen:
        settings["data"] = {"frozen_test": str(folder / "frozen.extxyz")}
    config_path = folder / "config.yaml"
    config_path.write_text(yaml.safe_dump(settings))
    config = load_config(config_path)
    layout = Layout(config.campaign.results_dir, name)
    rng = np.random.default_rng(seed)
    write_json(
        folder / "labels" / THEORY / "theory.json",
        {
            "format": 1,
            "theory_id": THEORY,
            "engine": "pyscf",
            "versions": {"pyscf": "2.14.0"},
            "settings": {"xc": "pbe", "basis": "def2-svp", "density_fit": True, "grid_level": 2},
        },
    )
    frozen_frames = [_labelled(_rattled(rng, 0.08)) for _ in range(12)]
    write_frames(folder / "frozen.extxyz", frozen_frames)

    spent = {"calls": 0, "found": 0, "converged": 0, "seconds": 0.0}
    train: list[Atoms] = []
    rows = []
    for g in range(generations + 1):
        last = g == generations
        rows.append(
            _generation(
                config,
                layout,
                g,
                rng,
                spent,
                train,
                frozen_frames if frozen else None,
                calibrated,
                outcome if last else "continue",
            )
        )
    if strata:
        for g in range(1, generations + 1):
            add_strata(layout, g, {k: v * 2 ** (generations - g) for k, v in strata.items()})
    members = [str(layout.member(generations, m)) for m in range(config.train.members)]
    write_json(
        layout.summary,
        {
            "campaign": name,
            "outcome": outcome,
            "best_generation": generations or None,
            "reason": rows[-1].pop("reason"),
            "generations": rows,
            "total": dict(spent),
            "paths": {
                "model": str(layout.committee(generations).parent) if generations else None,
                "models": members if generations else [],
                "report": str(layout.root / "report.html"),
                "tracking_uri": config.tracking.uri,
                "label_store": config.campaign.label_store,
                "dataset": str(layout.dataset(generations)),
            },
        },
    )
    return config_path


def _generation(config, layout, g, rng, spent, train, frozen, calibrated, outcome) -> dict:
    """Write one generation's files; returns its row of summary.json."""
    error = 0.4 / 3**g
    factor = 3.0 if calibrated else 1.0
    calibration = {
        "factor": factor,
        "coverage": 0.9,
        "level": 0.9,
        "n_frames": 6,
        "source": f"audit of generations {g}" if g else "validation frames of generation 1",
    }
    write_json(
        layout.plan(g),
        {
            "format": 1,
            "campaign": config.campaign.name,
            "generation": g,
            "config": config.model_dump(mode="json"),
            "sizes": {"members": 2, "walkers": 4, "label_batches": config.n_label_batches},
            "theory": THEORY,
            "labelled": [],
            "calibration": calibration if calibrated and g > 1 else None,
            "warm_start": None,
            "labels_spent": spent["calls"],
        },
    )
    dataset = None
    if g:
        dataset = _train(config, layout, g, rng, train, calibration if calibrated else None)
        walkers = [_walker(layout, g, w, rng, config) for w in range(4)]
    picked = [_rattled(rng, 0.1) for _ in range(8 if g else 12)]
    audit = [_rattled(rng, 0.07) for _ in range(6 if g else 0)]
    for i, atoms in enumerate(picked + audit):
        role = "seed" if g == 0 else "picked" if i < len(picked) else "audit"
        atoms.info.update(
            role=role,
            generation=g,
            why_picked=f"{role}: error expected above 50 meV/Å, far from frame {i}",
        )
        if g:
            walker = i % 4
            atoms.info.update(walker=walker, group=walkers[walker]["group"], md_step=10 * i)
            _predict(atoms, rng, error, factor)
    frames = [canonical(atoms) for atoms in picked + audit]
    isolated = []
    if g == 0:
        for symbol in ("H", "C", "O"):
            atom = Atoms(symbol, info={"config_type": "IsolatedAtom", "role": "isolated"})
            atom.info.update(
                generation=0, why_picked="isolated atom: E0", spin={"O": 2, "C": 2}.get(symbol, 1)
            )
            isolated.append(canonical(atom))
    write_frames(layout.selected(g), frames + isolated)
    if g:
        write_table(
            pd.DataFrame({"frame_id": [a.info["frame_id"] for a in frames], "picked": True}),
            layout.selected(g).parent / "candidates",
        )
        write_json(layout.selected(g).parent / "select.json", {"generation": g, "candidates": 31})

    failures = (
        {} if g == 1 else dict(zip((0, 3), FAILURES[:2] if g == 0 else FAILURES[2:], strict=True))
    )
    labels = []
    for i, atoms in enumerate(frames + isolated):
        status, reason = failures.get(i, ("converged", ""))
        seconds = 6.0 + float(rng.uniform(0, 3))
        labels.append(
            {
                "frame_id": atoms.info["frame_id"],
                "role": atoms.info["role"],
                "status": status,
                "reason": reason,
                "group": atoms.info.get("group"),
                "why_picked": atoms.info["why_picked"],
                "wall_seconds": seconds,
                "computed": g != 2 or i > 2,
            }
        )
        if status != "converged":
            write_json(
                Path(config.campaign.label_store)
                / THEORY
                / f"{atoms.info['frame_id']}.failed.json",
                {
                    "format": 1,
                    "frame_id": atoms.info["frame_id"],
                    "theory_id": THEORY,
                    "status": status,
                    "reason": reason,
                    "rung": "newton",
                    "wall_seconds": seconds,
                    "attempts": [
                        {"rung": "diis", "status": "unconverged", "reason": reason, "seconds": 3.0},
                        {"rung": "newton", "status": status, "reason": reason, "seconds": 3.0},
                    ],
                },
            )
    counts = {status: sum(x["status"] == status for x in labels) for status in _STATUSES}
    seconds = sum(x["wall_seconds"] for x in labels)
    write_json(
        layout.merged(g),
        {
            "generation": g,
            "theory": THEORY,
            "labels": labels,
            "counts": counts,
            "calls": len(labels),
            "wall_seconds": seconds,
        },
    )
    good = [_labelled(a) for i, a in enumerate(frames) if i not in failures]
    train.extend(good)
    found = sum(not label["computed"] for label in labels)
    spent["calls"] += len(labels)
    spent["found"] += found
    spent["converged"] += counts["converged"]
    spent["seconds"] += seconds

    errors = {"audit": None, "picked": None, "frozen": None}
    if g:
        kinds = {
            "audit": [a for a in good if a.info["role"] == "audit"],
            "picked": [a for a in good if a.info["role"] == "picked"],
        }
        if frozen:
            kinds["frozen"] = [_predict(a.copy(), rng, error, factor) for a in frozen]
        for kind, scored in kinds.items():
            write_frames(layout.predictions(g, kind), scored)
            errors[kind] = _errors(scored)
    covered = 5
    assess = {
        "format": 1,
        "generation": g,
        "outcome": outcome,
        "reason": {
            "converged": "the audited force error stayed below 40 meV/Å for 2 generations",
            "continue": "the audited force error is above the target",
            "budget_spent": "the budget of labels is spent before the target was reached",
            "stalled": "no progress in 3 generations: no frame is above the window's lower end",
        }[outcome],
        "checks": _checks(outcome) if g else [],
        "labels": {
            **counts,
            "calls": len(labels),
            "found": found,
            "seconds": seconds,
            "total_calls": spent["calls"],
            "total_found": spent["found"],
            "total_converged": spent["converged"],
            "total_seconds": spent["seconds"],
        },
        "dataset": {k: dataset[k] for k in ("n_train", "n_valid", "sha256")} if dataset else None,
        **errors,
        "calibration": calibration if calibrated and g else None,
        "measured_coverage": {
            "covered": covered,
            "n_frames": 6,
            "share": covered / 6,
            "expected": 0.9,
        }
        if calibrated and g
        else None,
        "walkers": {
            "n": 4,
            "ends": {"completed": 2, "uncertain": 1, "close_contact": 1},
            "stable_fraction": 0.75,
            "time_fs": sum(w["time_fs"] for w in walkers),
        }
        if g
        else None,
        "selection": {"candidates": 31, "picked": 8, "audit": 6} if g else None,
        "stall": {"generations_without_progress": 0},
    }
    write_json(layout.assess(g), assess)
    return {
        "generation": g,
        "labels": assess["labels"],
        "audit": assess["audit"],
        "frozen": assess["frozen"],
        "n_train": dataset["n_train"] if dataset else 0,
        "seconds": seconds + 40,
        "reason": assess["reason"],
    }


def add_strata(layout, g: int, strata: dict[str, float], exam: bool | None = None) -> None:
    """Strata in a generation's assess.json: force MAE as given, bounds 1.5 times as large.

    Energies are a tenth of the forces (eV/atom), stresses a hundredth. Four audit frames of each,
    two at each temperature; with ``exam`` (by default in the last generation) six more of a long
    walk.
    """
    path = layout.assess(g)
    assess = read_json(path)
    exam = assess["outcome"] != "continue" if exam is None else exam
    kinds = {"force": 1.0, "energy": 0.1, "stress": 0.01}
    assess["dataset"]["strata"] = {n: {"labels": 5, "n_train": 4, "n_valid": 1} for n in strata}
    assess["lost_audit"] = {"timeout": 1}
    assess["strata"], assess["audit_frames"], assess["walks"] = {}, [], []
    for w, (name, mae) in enumerate(strata.items()):
        errors = {f"{kind}_mae": mae * share for kind, share in kinds.items()}
        errors |= {f"{kind}_mae_high": 1.5 * mae * share for kind, share in kinds.items()}
        n = 4 + 6 * exam
        assess["strata"][name] = {"n_frames": n, "n_walks": 2, "generations": [g]} | errors
        assess["strata"][name]["energy_error"] = errors["energy_mae"]
        row = {"generation": g, "stratum": name, "walker": w, "segment": 0, "force_mae": mae}
        for k in range(n):
            assess["audit_frames"].append(
                row
                | {"group": "300K" if k in (0, 1) else "500K", "exam": k >= 4}
                | {"frame_id": f"{g}{w}{k}", "spread": mae, "energy_error": 0.1 * mae}
                | {"stress_mae": 0.01 * mae, "by_element": {}, "displacement": 0.2}
            )
        if exam:
            assess["walks"].append(
                {"generation": g, "walker": 4 + w, "stratum": name, "group": "500K", "exam": True}
                | {"end": "completed", "steps_done": 10000, "steps_asked": 10000}
                | {"n_frames": 100, "spread": {"all": mae}}
            )
    write_json(path, assess)


def _checks(outcome: str) -> list[dict]:
    """The names, kinds and units of the stop rule."""
    met = outcome == "converged"
    rows = [
        ("target_bound", "convergence", met, 0.0213, 0.04, "audited force MAE at most 21.3 meV/Å"),
        ("streak", "convergence", met, 2, 2, "bound below the target in 2 generations in a row"),
        ("audit_frames", "convergence", True, 12, 10, "12 audit frames, 10 asked"),
        ("stable_md", "convergence", met, 1.0 if met else 0.75, 1.0, "75% of walkers stable"),
        ("elements", "convergence", True, 0.031, 0.08, "no element above 80 meV/Å"),
        ("walker_groups", "convergence", met, None, 0.08, "too few audit frames: <500K>"),
        ("max_labels", "limit", outcome != "budget_spent", 57, 1000, "57 of 1000 label calls"),
        ("max_generations", "limit", True, 3, 4, "generation 3 of 4"),
        ("progress", "stall", outcome != "stalled", 0, 3, "0 generations without progress"),
        ("candidates", "stall", True, 0, 3, "the last generation found candidates"),
    ]
    names = ("name", "kind", "passed", "value", "limit", "message")
    return [dict(zip(names, row, strict=True)) for row in rows]


_STATUSES = ("converged", "unconverged", "failed", "timeout", "rejected")


def _train(config, layout, g, rng, train, calibration) -> dict:
    write_frames(layout.dataset(g) / "train.extxyz", train[:-2])
    write_frames(layout.dataset(g) / "valid.extxyz", train[-2:])
    dataset = {
        "generation": g,
        "n_train": len(train) - 2,
        "n_valid": 2,
        "sha256": dataset_hash(train),
        "E0s": {"H": -13.6, "C": -1027.0, "O": -2040.0},
        "elements": ["H", "C", "O"],
        "mean_neighbours": 8.0,
        "sources": {f"gen_{h:02d}": 10 for h in range(g)},
    }
    write_json(layout.dataset(g) / "dataset.json", dataset)
    write_table(
        pd.DataFrame({"frame_id": [a.info["frame_id"] for a in train], "split": "train"}),
        layout.dataset(g) / "ledger",
    )
    for m in range(config.train.members):
        folder = layout.member(g, m)
        epochs = np.arange(2, 21, 2)
        table = pd.DataFrame(
            {
                "epoch": epochs,
                "loss": 5.0 * np.exp(-epochs / 5) + 0.01 * m,
                "valid_forces_mae_meV_A": 400 / 3**g + 1000 * np.exp(-epochs / 4),
                "lr": 0.01,
                "seconds": epochs * 1.5,
            }
        )
        write_table(table, folder / "history")
        write_json(
            folder / "metrics.json",
            {
                "seed": 7 + m,
                "epochs": 20,
                "best_epoch": 18,
                "seconds": 30.0 + m,
                "valid": {"forces_mae": 0.4 / 3**g, "energy_mae": 0.002},
            },
        )
        write_json(folder / "model.json", {"format": 1, "elements": [1, 6, 8]})
        (folder / "model.safetensors").write_bytes(rng.bytes(2000))
    members = [str(layout.member(g, m)) for m in range(config.train.members)]
    write_json(
        layout.committee(g),
        {
            "generation": g,
            "members": members,
            "dataset": dataset["sha256"],
            "calibration": calibration,
        },
    )
    return dataset


def _walker(layout, g, w, rng, config) -> dict:
    end = ENDS[(w + g) % 4] if g < 3 else ENDS[w]
    done = 1000 if end == "completed" else int(rng.integers(200, 900))
    path = layout.walker(g, w)
    info = {
        "walker": w,
        "group": f"{(300, 500)[w % 2]}K",
        "temperature": float((300, 500)[w % 2]),
        "end": end,
        "reason": {
            "completed": "all steps done",
            "uncertain": f"expected force error 1204 meV/Å above 1000 at step {done}",
            "close_contact": f"H3 and H7 at 0.41 Å at step {done}",
        }[end],
        "steps_done": done,
        "steps_asked": 1000,
        "time_fs": 0.5 * done,
        "start_frame": sha256_json([g, w])[:20],
        "last_good_step": done,
        "end_step": done,
        "max_uncertainty": 0.4 / 2**g,
        "mean_temperature": 310.0,
        "n_frames": done // 10,
        "wall_seconds": 0.02 * done,
        "frames": str(path),
    }
    write_frames(path, [_predict(_rattled(rng, 0.05), rng, 0.1, 3.0)])
    write_json(path.with_suffix(".json"), info)
    return info


def _rattled(rng, std: float) -> Atoms:
    atoms = molecule("CH3CH2OH")
    atoms.info["displacement"] = std
    atoms.positions += rng.normal(0, std, (len(atoms), 3))
    return canonical(atoms)


def _forces(atoms: Atoms) -> np.ndarray:
    return -SPRING * (atoms.positions - molecule("CH3CH2OH").positions)


def _labelled(atoms: Atoms) -> Atoms:
    forces = _forces(atoms)
    atoms.arrays["REF_forces"] = forces
    atoms.info["REF_energy"] = -4210.0 + float((forces**2).sum() / (2 * SPRING))
    return atoms


def _predict(atoms: Atoms, rng, error: float, factor: float) -> Atoms:
    """Committee predictions that are off by about ``error`` eV/Å in each component."""
    forces = _forces(atoms)
    scale = error * rng.uniform(0.5, 1.5)
    atoms.arrays["MACE_forces"] = forces + rng.normal(0, scale, forces.shape)
    atoms.arrays["MACE_forces_std"] = scale * rng.uniform(0.6, 1.2, len(atoms))
    energy = -4210.0 + float((forces**2).sum() / (2 * SPRING))
    atoms.info["MACE_energy"] = energy + len(atoms) * float(rng.normal(0.01, 0.02 * error))
    atoms.info["MACE_uncertainty"] = factor * float(atoms.arrays["MACE_forces_std"].max())
    return atoms


def _errors(frames) -> dict:
    delta = [a.arrays["MACE_forces"] - a.arrays["REF_forces"] for a in frames]
    mae = float(np.mean([np.abs(d).mean() for d in delta]))
    per_atom = [(a.info["MACE_energy"] - a.info["REF_energy"]) / len(a) for a in frames]
    shift = float(np.mean(per_atom))
    return {
        "n_frames": len(frames),
        "force_mae": mae,
        "force_mae_low": 0.85 * mae,
        "force_mae_high": 1.2 * mae,
        "force_rmse": 1.25 * mae,
        "max_force_error": float(max(np.linalg.norm(d, axis=1).max() for d in delta)),
        "energy_mae": float(np.abs(per_atom).mean()),
        "energy_mae_centred": float(np.abs(np.array(per_atom) - shift).mean()),
        "energy_shift": shift,
        "stress_mae": None,
        "by_element": {
            e: {"force_mae": mae, "force_mae_high": 1.3 * mae, "n": 9} for e in ("H", "C", "O")
        },
        "by_group": {
            e: {"force_mae": mae, "force_mae_high": 1.3 * mae, "n": 3} for e in ("300K", "500K")
        },
    }
