"""Still pictures of a campaign (matplotlib), for places that show images: MLflow, papers."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from mace_core.campaign_tables import generations_table
from mace_core.chronicle import Chronicle, Generation, parity, true_error
from mace_core.chronicle import uncertainty as frame_uncertainty
from mace_core.conventions import MEV

COLOURS = {"audit": "#2563eb", "frozen": "#b45309", "picked": "#64748b"}
NAMES = {"audit": "audit", "frozen": "frozen test set", "picked": "picked frames"}


def learning_curve(chronicle: Chronicle) -> Figure:
    """Force MAE with bounds against label calls spent; log y, the target as a line."""
    table = generations_table(chronicle.generations)
    figure, axes = _figure(1, (6.4, 4.2))
    axis = axes[0]
    for kind in ("audit", "frozen"):
        rows = table[table[f"{kind}_force_mae"].notna()]
        if rows.empty:
            continue
        mae = rows[f"{kind}_force_mae"] / MEV
        low, high = rows[f"{kind}_force_mae_low"] / MEV, rows[f"{kind}_force_mae_high"] / MEV
        # What the models of a generation cost: the labels of the generations before it.
        spent = rows["total_calls"] - rows["calls"]
        axis.fill_between(spent, low, high, color=COLOURS[kind], alpha=0.15, lw=0)
        axis.plot(spent, mae, "o-", color=COLOURS[kind], label=NAMES[kind])
    axis.axhline(chronicle.target / MEV, color="#16a34a", ls="--", lw=1, label="target")
    axis.set(xlabel="label calls before training", ylabel="force MAE (meV/Å)", yscale="log")
    _plain_ticks(axis.yaxis)
    axis.legend(frameon=False)
    return figure


def parity_plot(generation: Generation) -> Figure | None:
    """Forces (and energies per atom) of the models against the labels they had never seen."""
    kinds = [kind for kind in ("audit", "frozen") if generation.scored[kind]]
    if not kinds:
        return None
    figure, axes = _figure(2, (9.0, 4.2))
    for kind in kinds:
        values = parity(generation.scored[kind])
        style = {"s": 8, "alpha": 0.5, "lw": 0, "color": COLOURS[kind], "label": NAMES[kind]}
        axes[0].scatter(values["ref_forces"], values["forces"], **style)
        axes[1].scatter(values["ref_energy"] / MEV, values["energy"] / MEV, **style)
    for axis, name, unit in ((axes[0], "force", "eV/Å"), (axes[1], "energy, centred", "meV/atom")):
        axis.axline((0, 0), slope=1, color="#94a3b8", lw=0.8, zorder=0)
        axis.set(xlabel=f"label: {name} ({unit})", ylabel=f"model: {name} ({unit})")
    axes[0].legend(frameon=False)
    return figure


def uncertainty_plot(generation: Generation) -> Figure | None:
    """Each frame's largest force error against the uncertainty that was given for it."""
    figure, axes = _figure(1, (5.2, 4.6))
    shown = []
    for kind in ("picked", "audit"):
        points = [
            (frame_uncertainty(atoms, generation.factor), true_error(atoms))
            for atoms in generation.scored[kind]
        ]
        points = np.array(points).reshape(-1, 2) / MEV
        points = points[np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)]
        if len(points):
            shown.append(points)
            axes[0].scatter(*points.T, s=16, alpha=0.7, color=COLOURS[kind], label=NAMES[kind])
    if not shown:
        return None
    ends = [np.concatenate(shown).min() / 1.3, np.concatenate(shown).max() * 1.3]
    axes[0].plot(ends, ends, color="#94a3b8", lw=0.8, label="error = uncertainty")
    axes[0].set(
        xlabel="calibrated uncertainty (meV/Å)",
        ylabel="largest atomic force error (meV/Å)",
        xscale="log",
        yscale="log",
    )
    _plain_ticks(axes[0].xaxis)
    _plain_ticks(axes[0].yaxis)
    axes[0].legend(frameon=False)
    return figure


def _plain_ticks(axis) -> None:
    """1, 2, 5, 10, … as plain numbers on a logarithmic axis, however short it is."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def _figure(columns: int, size: tuple[float, float]):
    """A figure of its own (no pyplot, no global state) and its axes."""
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(1, columns))
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.2, lw=0.6)
    return figure, axes
