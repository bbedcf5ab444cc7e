"""The report's interactive plots (plotly); the page sets the colours of light and dark."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mace_core.chronicle import Chronicle, Generation, parity, true_error
from mace_core.chronicle import uncertainty as frame_uncertainty
from mace_core.conventions import MEV, UNSTABLE_ENDS, WalkerEnd

AUDIT, FROZEN, PICKED, TARGET = "#3b82f6", "#f59e0b", "#94a3b8", "#22c55e"
_SETS = {"audit": ("audit", AUDIT), "frozen": ("frozen test set", FROZEN)}
#: Generations, from early to late; readable on white and on black.
_LATER = ["#a78bfa", "#60a5fa", "#2dd4bf", "#84cc16", "#f59e0b", "#f43f5e"]
#: Points of one trace; more are thinned evenly, so that the page stays light.
MAX_POINTS = 3000


def learning_curve(table: pd.DataFrame, target: float) -> go.Figure | None:
    """Force MAE with bounds against the label calls that the models were trained after; log y."""
    figure = go.Figure()
    spent = table["total_calls"] - table["calls"]
    for kind, (name, colour) in _SETS.items():
        rows = table[f"{kind}_force_mae"].notna()
        if not rows.any():
            continue
        x, mae = spent[rows], table.loc[rows, f"{kind}_force_mae"] / MEV
        low = (table.loc[rows, f"{kind}_force_mae_low"] / MEV).fillna(mae)
        high = (table.loc[rows, f"{kind}_force_mae_high"] / MEV).fillna(mae)
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=[*high, *low[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=_faint(colour),
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=kind,
        )
        figure.add_scatter(
            x=x,
            y=mae,
            mode="lines+markers",
            name=name,
            legendgroup=kind,
            line={"color": colour, "width": 2.5},
            marker={"size": 8},
            customdata=np.column_stack([table.loc[rows, "generation"], low, high]),
            hovertemplate="gen %{customdata[0]:.0f}, %{x} calls: %{y:.1f} "
            "(%{customdata[1]:.1f} – %{customdata[2]:.1f}) meV/Å",
        )
    if not figure.data:
        return None
    shown = np.concatenate([[target / MEV], *(trace.y for trace in figure.data)])
    ends = [float(np.log10(shown.min() / 1.3)), float(np.log10(shown.max() * 1.3))]
    figure.add_hline(y=target / MEV, line={"color": TARGET, "dash": "dash", "width": 1.5})
    figure.add_annotation(
        x=1, xref="paper", xanchor="right", y=np.log10(target / MEV), yanchor="bottom",
        text=f"target {target / MEV:g} meV/Å", showarrow=False, font={"color": TARGET, "size": 12},
    )  # fmt: skip
    figure.update_xaxes(title="label calls spent before training", rangemode="tozero")
    figure.update_yaxes(title="force MAE (meV/Å)", range=ends, **_LOG_TICKS)
    return _laid_out(figure, 400)


#: Strata that are drawn: of more the ones with the largest bounds.
MAX_STRATA = 12


def strata_plot(generations: list[Generation], target: float) -> go.Figure | None:
    """Force MAE of each stratum with its upper bound, by generation; log y.

    The strata with the largest bounds of the last generation that has any, at most
    :data:`MAX_STRATA`, side by side within a generation.
    """
    by_generation = {gen.g: {row["stratum"]: row for row in gen.strata} for gen in generations}
    drawn = {
        name: max(g for g, rows in by_generation.items() if _known(rows.get(name)))
        for name in {name for rows in by_generation.values() for name in rows}
        if any(_known(rows.get(name)) for rows in by_generation.values())
    }
    if not drawn:
        return None
    worst = sorted(
        drawn, key=lambda name: (-by_generation[drawn[name]][name]["force_mae_high"], name)
    )
    figure, shown = go.Figure(), [target / MEV]
    chosen = worst[:MAX_STRATA]
    for k, name in enumerate(chosen):
        points = [(g, rows[name]) for g, rows in by_generation.items() if _known(rows.get(name))]
        offset = 0.5 * ((k + 0.5) / len(chosen) - 0.5)
        mae = np.array([row["force_mae"] for _, row in points]) / MEV
        high = np.array([row["force_mae_high"] for _, row in points]) / MEV
        shown += [*mae, *high]
        figure.add_scatter(
            x=[g + offset for g, _ in points],
            y=mae,
            mode="markers",
            name=name,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - mae,
                "arrayminus": 0 * mae,
                "thickness": 1.6,
                "width": 5,
            },
            marker={"color": _STRATA[k % len(_STRATA)], "size": 8, "symbol": _SYMBOLS[k // 6]},
            customdata=[[g, h, row["n_frames"]] for (g, row), h in zip(points, high, strict=True)],
            hovertemplate="gen %{customdata[0]}: %{y:.3g}, at most %{customdata[1]:.3g} meV/Å "
            "from %{customdata[2]} audit frames",
        )
    figure.add_hline(y=target / MEV, line={"color": TARGET, "dash": "dash", "width": 1.5})
    figure.add_annotation(
        x=1, xref="paper", xanchor="right", y=np.log10(target / MEV), yanchor="bottom",
        text=f"target {target / MEV:g} meV/Å", showarrow=False, font={"color": TARGET, "size": 12},
    )  # fmt: skip
    numbers = sorted(g for g in by_generation if g)
    ends = [float(np.log10(min(shown) / 1.3)), float(np.log10(max(shown) * 1.3))]
    figure.update_yaxes(title="force MAE and bound (meV/Å)", range=ends, **_LOG_TICKS)
    figure.update_xaxes(
        title="generation",
        tickvals=numbers,
        range=[numbers[0] - 0.5, numbers[-1] + 0.5],
        zeroline=False,
    )
    legend = 20 * len(chosen)
    figure = _laid_out(figure, 380 + legend)
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "v", "x": 0, "xanchor": "left", "y": -70 / 300, "yanchor": "top"},
        margin={"l": 64, "r": 16, "t": 16, "b": 70 + legend},
    )
    return figure


#: Colours of strata, and symbols where there are more strata than colours.
_STRATA = ["#3b82f6", "#f59e0b", "#14b8a6", "#a78bfa", "#f43f5e", "#84cc16"]
_SYMBOLS = ["circle", "diamond"]


def _known(row: dict | None) -> bool:
    return row is not None and row["force_mae_high"] is not None


def parity_plots(generation: Generation) -> list[tuple[str, go.Figure]]:
    """Forces, and energies per atom, of the models against labels they had never seen."""
    forces, energies = go.Figure(), go.Figure()
    for kind, (name, colour) in _SETS.items():
        if not generation.scored[kind]:
            continue
        values = parity(generation.scored[kind])
        for figure, x, y, unit in (
            (forces, values["ref_forces"], values["forces"], 1.0),
            (energies, values["ref_energy"], values["energy"], MEV),
        ):
            if not len(x):
                continue
            kept = _thinned(len(x))
            figure.add_scatter(
                x=np.round(x[kept] / unit, 4),
                y=np.round(y[kept] / unit, 4),
                mode="markers",
                name=name,
                marker={"color": colour, "size": 5, "opacity": 0.55},
                hovertemplate="label %{x:.3f}<br>model %{y:.3f}",
            )
    plots = []
    for name, figure, unit in (("Forces", forces, "eV/Å"), ("Energies", energies, "meV/atom")):
        if not figure.data:
            continue
        _diagonal(figure, log=False)
        figure.update_xaxes(title=f"label ({unit})")
        figure.update_yaxes(title=f"model ({unit})")
        plots.append((name, _laid_out(figure, 400)))
    return plots


def uncertainty_plot(generations: list[Generation]) -> go.Figure | None:
    """Largest force error of each labelled frame against the uncertainty stated before; log-log."""
    figure = go.Figure()
    for generation in generations:
        for kind, symbol in (("audit", "circle"), ("picked", "circle-open")):
            points = np.array(
                [
                    (frame_uncertainty(atoms, generation.factor), true_error(atoms))
                    for atoms in generation.scored[kind]
                ]
            ).reshape(-1, 2)
            points = points[np.isfinite(points).all(axis=1) & (points > 0).all(axis=1)] / MEV
            if not len(points):
                continue
            figure.add_scatter(
                x=points[:, 0],
                y=points[:, 1],
                mode="markers",
                name=f"gen {generation.g}",
                legendgroup=f"gen {generation.g}",
                showlegend=not any(t.name == f"gen {generation.g}" for t in figure.data),
                marker={"color": _colour(generation.g), "symbol": symbol, "size": 8},
                hovertemplate=f"{kind}: said %{{x:.0f}}, was %{{y:.0f}} meV/Å",
            )
    if not figure.data:
        return None
    _diagonal(figure, log=True)
    figure.update_xaxes(title="calibrated uncertainty (meV/Å)", **_LOG_TICKS)
    figure.update_yaxes(title="largest force error (meV/Å)", **_LOG_TICKS)
    return _laid_out(figure, 420)


def coverage_plot(table: pd.DataFrame) -> go.Figure | None:
    """Share of audit frames whose error the uncertainty bounded, by generation."""
    rows = table[table["coverage"].notna()]
    if rows.empty:
        return None
    names = [f"gen {g}" for g in rows["generation"]]
    figure = go.Figure()
    figure.add_bar(
        x=names,
        y=100 * rows["coverage"],
        marker={"color": [_colour(g) for g in rows["generation"]]},
        width=0.5,
        text=[
            f"{share * n:.0f} of {n:.0f}"
            for share, n in zip(rows["coverage"], rows["coverage_frames"], strict=True)
        ],
        textposition="auto",
        hovertemplate="%{y:.0f} % covered<extra></extra>",
        name="measured",
        showlegend=False,
    )
    figure.add_scatter(
        x=names,
        y=100 * rows["coverage_expected"],
        mode="lines+markers",
        name="expected",
        line={"color": TARGET, "dash": "dash"},
        marker={"symbol": "line-ew-open", "size": 14},
        hovertemplate="%{y:.0f} % expected<extra></extra>",
    )
    figure.update_yaxes(title="frames covered (%)", range=[0, 105])
    return _laid_out(figure, 420)


_END_COLOURS = {
    WalkerEnd.COMPLETED: "#22c55e",
    WalkerEnd.UNCERTAIN: "#f59e0b",
    WalkerEnd.EVAPORATED: "#38bdf8",
    WalkerEnd.CLOSE_CONTACT: "#f43f5e",
    WalkerEnd.FRAGMENTED: "#d946ef",
    WalkerEnd.TEMPERATURE: "#ef4444",
    WalkerEnd.ENERGY: "#b91c1c",
    WalkerEnd.NOT_A_NUMBER: "#7f1d1d",
    WalkerEnd.NOT_STARTED: "#94a3b8",
}


def walkers_plot(walkers: pd.DataFrame) -> go.Figure | None:
    """How far each walker went, coloured by how it ended; generations side by side."""
    if walkers.empty:
        return None
    figure = go.Figure()
    # Categories stand in the order in which they first appear: this trace only sets it.
    figure.add_bar(x=_places(walkers), y=0 * walkers["time_fs"], showlegend=False, hoverinfo="skip")
    for end, colour in _END_COLOURS.items():
        rows = walkers[walkers["end"] == end]
        if rows.empty:
            continue
        figure.add_bar(
            x=_places(rows),
            y=rows["time_fs"],
            name=end.value.replace("_", " ") + (" (unstable)" if end in UNSTABLE_ENDS else ""),
            marker={"color": colour},
            customdata=rows[["group", "reason"]],
            hovertemplate="%{y:.0f} fs at %{customdata[0]}<br>%{customdata[1]}",
        )
    figure.update_yaxes(title="simulated time (fs)")
    figure.update_layout(barmode="stack")
    return _laid_out(figure, 340)


def _places(walkers: pd.DataFrame) -> list[list[str]]:
    return [[f"gen {g}" for g in walkers["generation"]], [f"w{w}" for w in walkers["walker"]]]


def costs_plot(table: pd.DataFrame) -> go.Figure | None:
    """Seconds of computing by generation: labels, training (all members), MD (all walkers)."""
    figure = go.Figure()
    names = [f"gen {g}" for g in table["generation"]]
    for column, name, colour in (
        ("label_seconds", "labels", FROZEN),
        ("train_seconds", "training", AUDIT),
        ("md_seconds", "MD", "#14b8a6"),
    ):
        if table[column].fillna(0).sum() > 0:
            figure.add_bar(
                x=names,
                y=table[column].fillna(0),
                name=name,
                marker={"color": colour},
                hovertemplate="%{y:.0f} s",
            )
    if not figure.data:
        return None
    figure.update_layout(barmode="stack")
    figure.update_yaxes(title="seconds, summed over jobs")
    return _laid_out(figure, 320)


def all_plots(chronicle: Chronicle, table: pd.DataFrame, walkers: pd.DataFrame) -> dict:
    """Every plot there is something to show in, as JSON by name."""
    plots = {
        "learning": learning_curve(table, chronicle.target),
        "strata": strata_plot(chronicle.generations, chronicle.target),
        "uncertainty": uncertainty_plot(chronicle.generations),
        "coverage": coverage_plot(table),
        "walkers": walkers_plot(walkers),
        "costs": costs_plot(table),
        **{f"parity_{n.lower()}": figure for n, figure in parity_plots(chronicle.last)},
    }
    return {name: figure.to_json() for name, figure in plots.items() if figure is not None}


_STEPS = [float(f"{digit}e{power}") for power in range(-3, 6) for digit in (1, 2, 5)]
_LOG_TICKS = {"type": "log", "tickvals": _STEPS, "ticktext": [f"{step:g}" for step in _STEPS]}


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 34, "b": 54},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        legend_traceorder="normal",
        hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def _diagonal(figure: go.Figure, log: bool) -> None:
    """The line y = x over all that is plotted, and the same range for both axes."""
    values = np.concatenate([np.r_[trace.x, trace.y] for trace in figure.data])
    low, high = float(values.min()), float(values.max())
    if log:
        low, high = low / 1.4, high * 1.4
        ends = [float(np.log10(low)), float(np.log10(high))]
    else:
        margin = 0.05 * (high - low) or 1.0
        low, high = low - margin, high + margin
        ends = [low, high]
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"color": PICKED, "width": 1.2, "dash": "dot"},
        hoverinfo="skip",
        name="error = uncertainty" if log else "model = label",
        showlegend=log,
    )
    figure.data = (figure.data[-1], *figure.data[:-1])
    figure.update_xaxes(range=ends)
    figure.update_yaxes(range=ends)


def _thinned(n: int) -> np.ndarray:
    """Which of ``n`` points are drawn."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(int))


def _colour(g: int) -> str:
    return _LATER[(g - 1) % len(_LATER)]


def _faint(colour: str) -> str:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({r},{g},{b},0.15)"
