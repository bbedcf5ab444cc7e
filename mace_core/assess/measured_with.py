"""Whether a factor was measured with committees of other settings than the one that uses it.

The audit of generation g calibrates the committee of g + 1. Where the number of members, the model
or its training were changed between the two, the factor is that of another kind of committee.
"""

from typing import Any

from mace_core.config.campaign import Config, parse_config
from mace_core.layout import Layout
from mace_core.storage import read_json

#: Settings that change how a committee is computed, and not what it is.
_NOT_THE_MODELS = ("train.device", "train.valid_batch_size")

_SOURCE = "; measured with "  # between where a factor comes from and what differs
_SHOWN = 3  # settings named in a sentence


def with_differences(
    calibration: dict[str, Any], config: Config, layout: Layout, g: int
) -> dict[str, Any]:
    """The calibration as generation ``g`` uses it.

    Args:
        calibration: as its plan has it.
        config: of generation ``g``.
        layout: of the campaign: plans of the generations that were audited.
        g: the generation that uses it.

    Returns:
        The same, or with ``measured_with`` and ``used_with`` (see docs/contracts.md), and a
        ``source`` that says what differs.
    """
    ours = _settings(config)
    measured: dict[str, list[Any]] = {}
    for h in calibration.get("generations", [g - 1]):
        path = layout.plan(h)
        if not path.is_file():
            continue
        theirs = _settings(parse_config(read_json(path)["config"], where=str(path)))
        for key in sorted(ours.keys() | theirs.keys()):
            if theirs.get(key) != ours.get(key):
                known = measured.setdefault(key, [])
                if theirs.get(key) not in known:
                    known.append(theirs.get(key))
    calibration = as_measured(calibration)
    if not measured:
        return calibration
    used = {key: ours.get(key) for key in measured}
    said = _sentence(measured, used)
    return calibration | {
        "measured_with": measured,
        "used_with": used,
        "source": f"{calibration.get('source', '')}{_SOURCE}{said}",
    }


def as_measured(calibration: dict[str, Any]) -> dict[str, Any]:
    """The calibration without what :func:`with_differences` says of who uses it."""
    plain = {k: v for k, v in calibration.items() if k not in ("measured_with", "used_with")}
    if "source" in plain:
        plain["source"] = plain["source"].split(_SOURCE)[0]
    return plain


def difference(calibration: dict[str, Any]) -> str | None:
    """The sentence on what differs, None where nothing does."""
    if not calibration.get("measured_with"):
        return None
    return "the calibration factor was measured with " + _sentence(
        calibration["measured_with"], calibration["used_with"]
    )


def _sentence(measured: dict[str, list[Any]], used: dict[str, Any]) -> str:
    # The number of members is what a reader looks for.
    shown = sorted(measured, key=lambda key: key != "train.members")
    more, shown = len(shown) - _SHOWN, shown[:_SHOWN]
    before = ", ".join(f"{key} {' or '.join(map(_text, measured[key]))}" for key in shown)
    after = ", ".join(_text(used[key]) for key in shown)
    rest = f" (and {more} more settings differ)" if more > 0 else ""
    return f"{before}, used with {after}{rest}"


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _settings(config: Config) -> dict[str, Any]:
    sections = {"train": config.train, "model": config.model}
    flat = {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in section.model_dump(mode="json").items()
    }
    return {key: value for key, value in flat.items() if key not in _NOT_THE_MODELS}
