"""A calibration in words, the same in the log, the report and MLflow."""

from typing import Any

from mace_core.assess.calibration import is_calibrated


def factor_in_words(calibration: dict[str, Any]) -> str:
    """For example ``2.14 (90% interval 1.6 to 4.3)``, or that the factor is assumed."""
    factor = f"{calibration['factor']:.3g}"
    if not is_calibrated(calibration):
        return f"not calibrated yet (assumed factor {factor})"
    low, high = calibration.get("factor_low"), calibration.get("factor_high")
    if low is None or high is None:
        return factor
    return f"{factor} (90% interval {low:.3g} to {high:.3g})"


def origin_in_words(calibration: dict[str, Any]) -> str:
    """What a factor comes from, for example ``8 frames: audit of generation 2``."""
    n, source = calibration.get("n_frames"), calibration.get("source", "of unknown origin")
    if not is_calibrated(calibration) or n is None:
        return source
    return f"{n} frames: {source}"


def in_words(calibration: dict[str, Any]) -> str:
    """Factor, what it bounds and what it comes from, in one line."""
    level = calibration.get("level") if is_calibrated(calibration) else None
    bounds = f", bounds the error of {level:.0%} of frames" if level is not None else ""
    return f"{factor_in_words(calibration)}{bounds}; {origin_in_words(calibration)}"
