"""What the assessments of two generations say together, and neither alone: notes for a reader."""

from collections.abc import Mapping, Sequence
from typing import Any

from mace_core.assess.check import Assessment, audit, mev
from mace_core.conventions import WalkerEnd

#: Walks are called shorter when the median share of steps done is below this times the former.
SHORTER = 0.8


def findings(before: Sequence[Assessment], result: Assessment) -> list[str]:
    """Sentences on a generation against the one before; none where nothing is odd.

    Args:
        before: assessments of generations 0 … g − 1.
        result: that of generation g, so far.
    """
    return shorter_walks(before, result) if before else []


def shorter_walks(before: Sequence[Assessment], result: Assessment) -> list[str]:
    """Walks that stop earlier for their uncertainty, while the measured error fell.

    A better model should let walks go further. The uncertainty is the calibration factor times the
    committee's spread, so it is the factor that is likely to be wrong.
    """
    now, then = result.get("walkers") or {}, before[-1].get("walkers") or {}
    share, former = now.get("median_share"), then.get("median_share")
    mae, mae_before = audit(result).get("force_mae"), audit(before[-1]).get("force_mae")
    if None in (share, former, mae, mae_before):
        return []
    uncertain = (now.get("ends") or {}).get(WalkerEnd.UNCERTAIN, 0)
    if not (share < SHORTER * former and uncertain and mae < mae_before):
        return []
    return [
        f"walks got shorter while the model got better: the median walk did {share:.0%} of its "
        f"steps, {former:.0%} in the generation before ({uncertain} of {now['n']} stopped for "
        f"their uncertainty), while the audited force MAE fell from {mev(mae_before)} to "
        f"{mev(mae)} meV/Å. The calibration factor was {_factors(then, now)}: it may be too large"
    ]


def _factors(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """That of this generation's walks, and that of the former's where it is known."""
    former, present = then.get("factor"), now.get("factor")
    said = "not noted" if present is None else f"{present:.3g}"
    return said if former is None else f"{said}, {former:.3g} in the generation before"
