"""The audited errors of the whole and of its parts: strata, elements, temperatures."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mace_core.assess.bounds import (
    absolute_draws,
    from_others,
    log_scatter,
    mean_spread,
    ratio_draws,
)
from mace_core.assess.check import Row

#: How the tail probability of all bounds is shared out between the quantities of a stratum.
TAIL_SHARE = {"force": 0.4, "energy": 0.4, "stress": 0.2}
#: Energy errors have heavier tails than a normal: their bounds take this share of their part of it.
HEAVY = 0.6
#: A bound so many times the estimate (of one or two frames) is none.
UNBOUNDED = 100.0


def force_bounds(
    rows: Sequence[Row], walks: Sequence[Row], confidence: float, seed: int
) -> tuple[float | None, float | None, float | None]:
    """Force MAE of all MD, and its lower and upper bound, each one-sided at ``confidence``.

    Strata count by the share of the visited frames that is theirs, and temperatures alike, whatever
    the audit drew from each: the estimate is the ratio estimator's, not the mean of the rows.

    Args:
        rows: see :func:`mace_core.assess.rows.rows`; of one committee.
        walks: of the same generation; none for frames that no MD visited.
        confidence: of each bound.
        seed: of the draws.

    Returns:
        In eV/Å; bounds are None for a single row, and all are for none.
    """
    if not rows:
        return None, None, None
    rng = np.random.default_rng(seed)
    strata = sorted({str(row["stratum"]) for row in rows})
    share = _shares(strata, walks) if walks else _counts(strata, rows)
    parts = {name: [row for row in rows if str(row["stratum"]) == name] for name in strata}
    scatter = [_scatter(parts[name]) for name in strata]
    total, mean = 0.0, 0.0
    for k, name in enumerate(strata):
        own = [walk for walk in walks if str(walk["stratum"]) == name]
        spread, draws = _population(parts[name], own, rng)
        errors, spreads, of = _forces(parts[name], draws is not None)
        ratios = ratio_draws(errors, spreads, of, rng, from_others(scatter, k))
        total = total + share[name] * ratios * (1.0 if draws is None else draws)
        mean += share[name] * _estimate(errors, spreads, spread)
    if len(rows) < 2:
        return mean, None, None
    low, high = np.quantile(total, [1 - confidence, confidence])
    return mean, float(min(low, mean)), float(max(high, mean))


def by_part(
    rows: Sequence[Row],
    walks: Sequence[Row],
    confidence: float,
    seed: int,
    part: Callable[[Row], dict[str, Row]],
) -> dict[str, dict[str, Any]]:
    """Force MAE of each part, with its upper bound (None for a single row).

    Args:
        rows: of one committee.
        walks: of the same generation.
        confidence: of each bound by itself.
        seed: of the draws.
        part: from a row or a walk to its parts, with what is theirs (``force_mae``, ``spread``).
    """
    rng = np.random.default_rng(seed)
    of_rows: dict[str, list[Row]] = {}
    of_walks: dict[str, list[Row]] = {}
    for found, kept in ((rows, of_rows), (walks, of_walks)):
        for row in found:
            for name, values in part(row).items():
                kept.setdefault(name, []).append({**row, **values})
    result = {}
    for name, own in sorted(of_rows.items()):
        spread, draws = _population(own, of_walks.get(name, []), rng)
        errors, spreads, of = _forces(own, draws is not None)
        mean, high = _estimate(errors, spreads, spread), None
        if len(own) > 1:
            total = ratio_draws(errors, spreads, of, rng) * (1.0 if draws is None else draws)
            high = _upper(total, confidence, mean)
        n = sum(row.get("n", 1) for row in own)
        result[name] = {"force_mae": mean, "force_mae_high": high, "n": n}
    return result


def elements_of(row: Row) -> dict[str, Row]:
    """A row's, or a walk's, elements, for :func:`by_part`."""
    if "by_element" in row:
        return dict(row["by_element"])
    spreads = row.get("spread") or {}
    return {name: {"spread": {"all": value}} for name, value in spreads.items() if name != "all"}


def group_of(row: Row) -> dict[str, Row]:
    """A row's, or a walk's, temperature, for :func:`by_part`."""
    return {} if row.get("group") is None else {str(row["group"]): {}}


def by_stratum(
    rows: Sequence[Row], walks: Sequence[Row], confidence: float, seed: int, recent: int
) -> dict[str, dict[str, Any]]:
    """Errors of each stratum for the newest committee, with bounds that hold all at once.

    The ratio of error to spread is that of all rows; the spread is that of the newest walks of the
    stratum (at a temperature that the newest ones lack, of earlier ones). Energies and stresses
    are those of the ``recent`` generations, whose committees have offsets of their own.

    Args:
        rows: of one or several generations.
        walks: of the same.
        confidence: that no error of the campaign's strata is above its bound: each bound has a
            share of 1 − confidence (:data:`TAIL_SHARE`, Bonferroni).
        seed: of the draws.
        recent: generations, from the newest one back, whose energies and stresses count.

    Returns:
        For each stratum with rows: ``n_frames``, ``n_walks``, ``generations``, and ``force_mae``,
        ``energy_mae``, ``stress_mae`` (None where there is no label) with ``…_high``.
    """
    rng = np.random.default_rng(seed)
    strata = sorted({str(row["stratum"]) for row in rows})
    parts = {name: [row for row in rows if str(row["stratum"]) == name] for name in strata}
    kinds = ["force"] + [
        kind
        for kind, key in (("energy", "energy_error"), ("stress", "stress_mae"))
        if any(row.get(key) is not None for row in rows)
    ]
    whole = sum(TAIL_SHARE[kind] for kind in kinds) * len(strata)
    tails = {kind: (1 - confidence) * TAIL_SHARE[kind] / whole for kind in kinds}
    forces = [_scatter(parts[name]) for name in strata]
    since = max((row["generation"] or 0 for row in rows), default=0) - recent + 1
    late = {n: [r for r in own if (r["generation"] or 0) >= since] for n, own in parts.items()}
    energies = [_energy_scatter(late[name]) for name in strata]
    stresses = [_scatter(late[name], "stress_mae") for name in strata]
    result = {}
    for k, name in enumerate(strata):
        own = parts[name]
        moving = newest([walk for walk in walks if str(walk["stratum"]) == name])
        spread, draws = _population(own, moving, rng)
        errors, spreads, of = _forces(own, draws is not None)
        ratios = ratio_draws(errors, spreads, of, rng, from_others(forces, k))
        total = ratios * (1.0 if draws is None else draws)
        mae = _estimate(errors, spreads, spread)
        entry = {
            "n_frames": len(own),
            "n_walks": len({_walk(row) for row in own}),
            "generations": sorted(
                {row["generation"] for row in own if row["generation"] is not None}
            ),
            "force_mae": mae,
            "force_mae_high": _upper(total, 1 - tails["force"], mae),
        }
        entry |= _energy(
            late[name], spread, from_others(energies, k), HEAVY * tails.get("energy", 0.0), rng
        )
        entry |= _stress(late[name], from_others(stresses, k), tails.get("stress", 0.0), rng)
        result[name] = entry
    return result


def _estimate(errors: np.ndarray, spreads: np.ndarray, spread: float | None) -> float:
    """Mean error: the ratio of the sums times the mean spread of the MD, where that is known."""
    return float(errors.sum() / spreads.sum()) * (1.0 if spread is None else spread)


def _upper(draws: np.ndarray, level: float, estimate: float) -> float | None:
    """A quantile of the draws, not below the estimate; None where it says nothing."""
    high = float(np.quantile(draws, level))
    return None if high > UNBOUNDED * estimate else max(high, estimate)


def newest(walks: Sequence[Row]) -> list[Row]:
    """At each temperature, the walks with frames of the newest generation that has any there."""
    walks = [walk for walk in walks if walk.get("n_frames")]
    last: dict[str, int] = {}
    for walk in walks:
        group = str(walk["group"])
        last[group] = max(last.get(group, -1), walk.get("generation") or 0)
    return [w for w in walks if (w.get("generation") or 0) == last[str(w["group"])]]


def _energy(own, spread, others, tail, rng) -> dict[str, Any]:
    own = [row for row in own if row.get("energy_error") is not None]
    if not own:
        return {"energy_mae": None, "energy_mae_high": None, "energy_error": None}
    delta = np.array([row["energy_error"] for row in own])
    numbers, cells = np.unique([row["generation"] or 0 for row in own], return_inverse=True)
    known = spread is not None and all(row.get("spread") for row in own)
    spreads = np.array([row["spread"] for row in own]) if known else None
    others = (others[0] * (spread if known else 1.0), others[1])
    of = [_walk(row) for row in own]
    found = absolute_draws(delta, of, rng, spreads, spread or 1.0, others, cells)
    mae = float(np.abs(delta).mean())
    return {
        "energy_mae": mae,
        "energy_mae_high": None if found is None else _upper(found, 1 - tail, mae),
        "energy_error": float(delta[cells == len(numbers) - 1].mean()),
    }


def _stress(own, others, tail, rng) -> dict[str, Any]:
    own = [row for row in own if row.get("stress_mae") is not None]
    if not own:
        return {"stress_mae": None, "stress_mae_high": None}
    errors = np.array([row["stress_mae"] for row in own])
    draws = ratio_draws(errors, np.ones(len(own)), [_walk(row) for row in own], rng, others)
    mae = float(errors.mean())
    return {"stress_mae": mae, "stress_mae_high": _upper(draws, 1 - tail, mae)}


def _energy_scatter(own: Sequence[Row]) -> tuple[float, float]:
    """Sum of squares of energy errors over √spread, within generations, and its freedom."""
    squares, freedom = 0.0, 0.0
    for generation in {row["generation"] for row in own}:
        some = [
            row["energy_error"] / np.sqrt(row.get("spread") or 1.0)
            for row in own
            if row["generation"] == generation and row.get("energy_error") is not None
        ]
        if len(some) > 1:
            squares += float(((np.array(some) - np.mean(some)) ** 2).sum())
            freedom += len(some) - 1
    return squares, freedom


def _scatter(own: Sequence[Row], key: str = "force_mae") -> tuple[float, float]:
    if key != "force_mae":
        values = np.array([row[key] for row in own if row.get(key) is not None])
        return log_scatter(values, np.ones(len(values)))
    errors, spreads, _ = _forces(own, all(row.get("spread") for row in own))
    return log_scatter(errors, spreads)


def _forces(own: Sequence[Row], with_spread: bool):
    errors = np.array([row["force_mae"] for row in own])
    spreads = [row["spread"] if with_spread else 1.0 for row in own]
    return errors, np.array(spreads, dtype=float), [_walk(row) for row in own]


def _population(own, walks, rng):
    """Mean spread of the walks and its draws; None, None where it is not known everywhere."""
    walks = [walk for walk in walks if walk.get("n_frames")]  # others ended before a frame was due
    spreads = [(walk.get("spread") or {}).get("all") for walk in walks]
    if not walks or None in spreads or not all(row.get("spread") for row in own):
        return None, None
    if not any(spreads):
        return None, None
    return mean_spread([str(walk["group"]) for walk in walks], spreads, rng)


def _walk(row: Row) -> tuple:
    """Which walk, or part of a long one, a row is of; one that no walker visited is by itself."""
    if row.get("walker") is None:
        return (row.get("generation"), -1, row["frame_id"])
    return (row.get("generation"), row["walker"], row.get("segment", 0))


def _shares(strata: Sequence[str], walks: Sequence[Row]) -> dict[str, float]:
    frames = {name: 0.0 for name in strata}
    for walk in walks:
        if str(walk["stratum"]) in frames and not walk.get("exam"):
            frames[str(walk["stratum"])] += walk["n_frames"]
    total = sum(frames.values())
    return (
        {n: f / total for n, f in frames.items()}
        if total
        else dict.fromkeys(frames, 1 / len(frames))
    )


def _counts(strata: Sequence[str], rows: Sequence[Row]) -> dict[str, float]:
    names = [str(row["stratum"]) for row in rows]
    return {name: names.count(name) / len(names) for name in strata}
