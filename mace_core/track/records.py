"""What MLflow is told about a campaign, as plain data: one record a run. Imports no mlflow."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mace_core import figures
from mace_core.assess.words import in_words
from mace_core.campaign_tables import generations_table
from mace_core.chronicle import KINDS, Chronicle, Generation
from mace_core.conventions import MEV
from mace_core.errors import without_passwords
from mace_core.storage import sha256_file, sha256_json
from mace_core.track.verdict import note, plain, strata_metrics, words

#: Tags by which a run is found again, and by which it is known to be whole and up to date.
KEY, CONTENT = "maceloop.key", "maceloop.content"

#: Raised when what a record says changes its form, so that old runs are replaced.
FORMAT = 1

#: Column of the generations' table → metric and the unit it is shown in.
_METRICS = {
    "n_train": ("data/n_train", 1.0),
    "n_valid": ("data/n_valid", 1.0),
    "calls": ("label/calls", 1.0),
    "found": ("label/found", 1.0),
    "failed": ("label/failed", 1.0),
    "total_calls": ("label/total_calls", 1.0),
    "total_found": ("label/total_found", 1.0),
    "label_seconds": ("label/seconds", 1.0),
    "total_label_seconds": ("label/total_seconds", 1.0),
    "train_seconds": ("train/seconds", 1.0),
    "md_seconds": ("md/seconds", 1.0),
    "stable_fraction": ("md/stable_fraction", 1.0),
    "time_fs": ("md/time_fs", 1.0),
    "factor": ("calibration/factor", 1.0),
    "factor_low": ("calibration/factor_low", 1.0),
    "factor_high": ("calibration/factor_high", 1.0),
    "coverage": ("calibration/coverage", 1.0),
    "coverage_expected": ("calibration/coverage_expected", 1.0),
    "candidates": ("select/candidates", 1.0),
    "picked": ("select/picked", 1.0),
    "lost_audit": ("audit/lost", 1.0),
    "n_strata": ("audit/strata", 1.0),
    "n_strata_measured": ("audit/strata_measured", 1.0),
    "n_strata_failing": ("audit/strata_failing", 1.0),
    "worst_stratum_force_mae": ("audit/worst_stratum_force_mae_meV_A", MEV),
    "worst_stratum_force_mae_high": ("audit/worst_stratum_force_mae_high_meV_A", MEV),
}
_ERROR_METRICS = {
    "n_frames": ("n_frames", 1.0),
    "force_mae": ("force_mae_meV_A", MEV),
    "force_mae_low": ("force_mae_low_meV_A", MEV),
    "force_mae_high": ("force_mae_high_meV_A", MEV),
    "force_rmse": ("force_rmse_meV_A", MEV),
    "max_force_error": ("max_force_error_meV_A", MEV),
    "energy_mae": ("energy_mae_meV_atom", MEV),
    "energy_mae_centred": ("energy_mae_centred_meV_atom", MEV),
    "stress_mae": ("stress_mae_meV_A3", MEV),
}


#: In a member's metrics.json, but not a parameter.
_TIMINGS = ("seconds", "wall_seconds")


@dataclass
class RunRecord:
    """One run as it should be.

    Attributes:
        key: finds the run, see :data:`KEY`.
        metrics: name → [(step, value)].
        files: (file on disk, folder among the artifacts).
        texts: artifact path → text.
        figures: artifact path → what draws it (None draws nothing); drawn only when logged.
        dataset: what the models were trained on (``sha256``, ``n_train``, ``source``), if anything.
        span: start and end, ms since the epoch.
    """

    key: str
    name: str
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    files: list[tuple[Path, str]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    figures: dict[str, Callable[[], Figure | None]] = field(default_factory=dict)
    dataset: dict | None = None
    span: tuple[int, int] = (0, 0)

    @cached_property
    def content(self) -> str:
        """Hash of all that the run says: it changes when the step was done anew."""
        files = [[folder, path.name, sha256_file(path)] for path, folder in self.files]
        return sha256_json(
            [FORMAT, self.name, self.params, self.metrics, self.tags, files, self.texts]
        )


def run_key(campaign: str, *place: int | str) -> str:
    """The value of :data:`KEY` for one run of a campaign."""
    return sha256_json([campaign, *place])[:20]


def generation_metrics(generation: Generation) -> dict[str, float]:
    """Everything measured in one generation, in the units people read, by metric name."""
    row = generations_table([generation]).iloc[0]
    metrics = {name: row[column] / unit for column, (name, unit) in _METRICS.items()}
    for kind in KINDS:
        for column, (name, unit) in _ERROR_METRICS.items():
            metrics[f"{kind}/{name}"] = row[f"{kind}_{column}"] / unit
    audit = generation.assess.get("audit") or {}
    metrics |= strata_metrics(generation)
    for prefix in ("element", "group"):
        for name, errors in (audit.get(f"by_{prefix}") or {}).items():
            if errors.get("force_mae") is not None:
                metrics[f"{prefix}/{plain(name)}_force_mae_meV_A"] = errors["force_mae"] / MEV
    return {name: float(value) for name, value in metrics.items() if pd.notna(value)}


def generation_record(chronicle: Chronicle, generation: Generation) -> RunRecord:
    """The run "gen 03"."""
    g, assess = generation.g, generation.assess
    dataset = assess.get("dataset")
    config = generation.plan.get("config", {})
    params = {"generation": str(g), **_flat({k: v for k, v in config.items() if k != "tracking"})}
    tags = {
        "outcome": assess["outcome"],
        "theory": str(generation.plan.get("theory", "")),
        "mlflow.note.content": note(generation),
    }
    for tag, calibration in (
        ("calibration", (generation.committee or {}).get("calibration")),
        ("calibration_next", assess.get("calibration")),
    ):
        if calibration:
            tags[tag] = in_words(calibration)
    if dataset:
        params |= {"dataset.n_train": str(dataset["n_train"]), "dataset.sha256": dataset["sha256"]}
        tags["dataset.sha256"] = dataset["sha256"]
    ended = _modified(generation.layout.assess(g))
    until = Chronicle(chronicle.config, through=g)
    return RunRecord(
        key=run_key(chronicle.name, g),
        name=f"gen {g:02d}",
        params=params,
        metrics={k: [(g, v)] for k, v in generation_metrics(generation).items()},
        tags=tags,
        files=[
            (generation.layout.assess(g), ""),
            *(
                (path, "/".join(["committee", *path.parent.parts[len(_train(generation).parts) :]]))
                for path in generation.model_files
            ),
        ],
        texts={"plan.json": json.dumps(without_passwords(generation.plan), indent=1)},
        figures={
            "figures/parity.png": lambda: figures.parity_plot(generation),
            "figures/learning_curve.png": lambda: figures.learning_curve(until) if g else None,
            "figures/uncertainty.png": lambda: figures.uncertainty_plot(generation),
        },
        dataset={**dataset, "source": str(generation.layout.dataset(g))} if dataset else None,
        span=(min(_modified(generation.layout.plan(g)), ended), ended),
    )


def member_records(chronicle: Chronicle, generation: Generation) -> list[RunRecord]:
    """One run a committee member, with its training curves (step = epoch)."""
    records = []
    for m, folder in enumerate(generation.member_folders):
        metrics: dict[str, list[tuple[int, float]]] = {}
        history = generation.member_history(folder)
        if "epoch" in history:
            for column in history.select_dtypes("number").columns.drop("epoch"):
                finite = history[np.isfinite(history[column])]
                curve = zip(finite["epoch"], finite[column], strict=True)
                metrics[_curve_name(column)] = [(int(e), float(v)) for e, v in curve]
        told = generation.member_metrics(folder)
        plain = {k: v for k, v in told.items() if not isinstance(v, dict) and k not in _TIMINGS}
        end = _modified(folder / "metrics.json")
        records.append(
            RunRecord(
                key=run_key(chronicle.name, generation.g, "member", m),
                name=f"gen {generation.g:02d} member {m}",
                params={"generation": str(generation.g), **_flat({"member": m} | plain)},
                metrics={name: curve for name, curve in metrics.items() if curve},
                span=(end, end),
            )
        )
    return records


def campaign_record(chronicle: Chronicle) -> RunRecord:
    """The run "campaign": every metric at step = generation, so that the UI draws the curves."""
    metrics: dict[str, list[tuple[int, float]]] = {}
    for generation in chronicle.generations:
        for name, value in generation_metrics(generation).items():
            metrics.setdefault(name, []).append((generation.g, value))
    config = chronicle.last.plan.get("config", {})
    first = chronicle.generations[0]
    return RunRecord(
        key=run_key(chronicle.name, "campaign"),
        name="campaign",
        params={
            "campaign": chronicle.name,
            "seed": str(config.get("campaign", {}).get("seed", "")),
            **_flat({"labeller": config.get("labeller", {})}),
        },
        metrics=metrics,
        tags={
            "outcome": str(chronicle.outcome),
            "best_generation": "" if chronicle.best is None else str(chronicle.best),
            "mlflow.note.content": note(chronicle.last),
        },
        figures={
            "figures/learning_curve.png": lambda: (
                figures.learning_curve(chronicle) if len(chronicle.generations) > 1 else None
            )
        },
        span=(
            _modified(first.layout.plan(first.g)),
            _modified(chronicle.layout.assess(chronicle.last.g)),
        ),
    )


def campaign_text(chronicle: Chronicle) -> str:
    """The experiment's description in the UI (markdown)."""
    labeller = chronicle.last.plan.get("config", {}).get("labeller", {})
    level = ", ".join(
        f"{key} {labeller[key]}"
        for key in ("engine", "xc", "basis", "method", "calculator")
        if key in labeller
    )
    return (
        f"Active learning campaign **{chronicle.name}** ({level}).\n\n"
        f"Outcome: **{words(chronicle.outcome)}**: {chronicle.last.assess['reason']}\n\n"
        f"Target: upper bound of the audited force MAE below {chronicle.target / MEV:g} meV/Å. "
        "The run `campaign` has every metric at step = generation; members are nested below "
        "their generation."
    )


def _curve_name(column: str) -> str:
    """A history column under the prefix by which the UI groups it: ``valid/…`` or ``train/…``."""
    prefix, _, rest = column.partition("_")
    return plain(f"{prefix}/{rest}" if prefix in ("train", "valid") else f"train/{column}")


def _train(generation: Generation) -> Path:
    return generation.layout.committee(generation.g).parent


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    """A nested mapping as dotted keys and texts."""
    if isinstance(value, dict):
        flat = {}
        for key, item in value.items():
            flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {plain(prefix): str(without_passwords(value))}


def _modified(path: Path) -> int:
    return int(path.stat().st_mtime * 1000) if path.is_file() else 0
