"""Each stratum by itself: what a user asked for is measured, and bounded, one by one."""

from collections.abc import Sequence
from math import inf
from typing import Any

from mace_core.assess.check import Assessment, Check, mev, streak
from mace_core.assess.parts import by_stratum
from mace_core.config.campaign import Config
from mace_core.conventions import MEV

#: Of the draws behind the bounds, so that the same rows always give the same bound.
_SEED = 20220615


def stratum_errors(history: Sequence[Assessment], config: Config) -> dict[str, dict[str, Any]]:
    """Errors of each stratum, from the audit frames of as long a streak as there is.

    Args:
        history: assessments of generations 0 … g.
        config: of the stop rule.
    """
    window = history[1:][-max(streak(history, config), config.stop.streak) :]
    rows = [row for record in window for row in record.get("audit_frames") or []]
    walks = [walk for record in window for walk in record.get("walks") or []]
    if not rows:
        return {}
    return by_stratum(rows, walks, config.stop.confidence, _SEED, config.stop.streak)


def expected_strata(record: Assessment) -> list[str]:
    """Strata that a campaign was asked for, by its newest data set."""
    return sorted((record.get("dataset") or {}).get("strata") or ())


def targets(config: Config) -> dict[str, float]:
    """Largest error of a stratum: eV/Å, eV/atom, eV/Å³."""
    stop = config.stop
    force = stop.target_force_mae
    return {
        "force": force * MEV,
        "energy": (stop.target_energy_mae or force / 4) * MEV,
        "stress": (stop.target_stress_mae or force / 10) * MEV,
    }


def strata_checks(history: Sequence[Assessment], config: Config) -> list[Check]:
    """Every stratum has audit frames of its own in the last ``streak`` generations, and errors
    bounded below the targets.
    """
    window = history[1:][-config.stop.streak :]
    last = history[-1]
    if assessed_without_strata(last):
        return []
    found = stratum_errors(history, config)
    expected = expected_strata(last)
    recent = {row["stratum"] for record in window for row in record.get("audit_frames") or []}
    missing = [name for name in expected if name not in recent]
    limits = targets(config)
    return [
        _measured(expected, missing, found, len(window), config),
        *(
            _bounded(kind, found, limits[kind], config)
            for kind in ("force", "energy", "stress")
            if kind != "stress" or any(e.get("stress_mae") is not None for e in found.values())
        ),
    ]


def assessed_without_strata(record: Assessment) -> bool:
    """Whether a verdict of an earlier version, which did not measure strata, is to stand."""
    return "audit_frames" not in record and record.get("outcome") == "converged"


#: Strata that a check names: the worst of those with an error, and of those without.
_NAMED, _MISSING = 3, 8

_UNITS = {"force": "meV/Å", "energy": "meV/atom", "stress": "meV/Å³"}


def _measured(
    expected: list[str],
    missing: list[str],
    found: dict[str, dict[str, Any]],
    n_window: int,
    config: Config,
) -> Check:
    if missing:
        each = -(-len(expected) // config.stop.streak)
        price = ""
        if each > min(config.select.audit_frames, config.explore.walkers):
            price = (
                f"; {len(expected)} strata take turns: to measure each within "
                f"{config.stop.streak} generations set select.audit_frames and explore.walkers "
                f"to {each} or more"
            )
        more = f" and {len(missing) - _MISSING} more" if len(missing) > _MISSING else ""
        said = f"no audit frame of its own in the last {n_window} generations: " + (
            ", ".join(missing[:_MISSING]) + more + price
        )
    elif expected:
        counts = [found[name]["n_frames"] for name in expected]
        least, most = min(counts), max(counts)
        n = f"{least}" if least == most else f"{least} to {most}"
        said = (
            f"{len(expected)} strata, {n} audit frames each"
            if len(expected) > 1
            else f"{counts[0]} audit frames of {expected[0]}"
        )
    else:
        said = "no stratum is known"
    return Check(
        "strata_measured", "convergence", bool(expected) and not missing, len(missing), 0, said
    )


def _bounded(kind: str, found: dict[str, dict[str, Any]], limit: float, config: Config) -> Check:
    worst, passed, within = None, bool(found), bool(found)
    above: list[tuple[float, str]] = []
    highs: dict[str, float] = {}
    for name, errors in sorted(found.items()):
        mae, high = errors.get(f"{kind}_mae"), errors.get(f"{kind}_mae_high")
        if mae is None and kind == "stress":
            continue
        within &= mae is None or mae < limit
        if high is None:
            passed = False
            above.append(
                (inf, f"{name} {'not measured' if mae is None else f'{mev(mae)} [no bound]'}")
            )
            continue
        highs[name] = high
        worst = high if worst is None else max(worst, high)
        passed &= high < limit
        if not high < limit:
            above.append((high, f"{name} {mev(mae)} [≤ {mev(high)}]"))
    unit, together = _UNITS[kind], f"bounds hold all together with {config.stop.confidence:.0%}"
    if above:
        above.sort(key=lambda one: (-one[0], one[1]))
        named = ", ".join(words for _, words in above[:_NAMED])
        more = f" and {len(above) - _NAMED} more" if len(above) > _NAMED else ""
        many = f" in {len(above)} of {len(found)} strata" if len(found) > 1 else ""
        said = f"{kind} MAE not below {mev(limit)} {unit}{many}: {named}{more}; {together}"
    elif highs:
        name = max(highs, key=lambda stratum: highs[stratum])
        worst_one = "worst stratum" if len(found) > 1 else "stratum"
        said = (
            f"{worst_one} {name}: {kind} MAE {mev(found[name][f'{kind}_mae'])} {unit}, at most "
            f"{mev(highs[name])} ({together}), target {mev(limit)}"
        )
    else:
        said = f"no stratum has a {kind} error"
    return Check(
        f"strata_{kind}",
        "convergence",
        passed,
        worst,
        limit,
        said,
        waiting=within and not passed,
    )
