"""Rows of the result: two sides, their ratio, and what was asked of it."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was done.
        peer: beside whom.
        ours_ms: {"min", "median"} of a step; None where nothing could be compared.
        peer_ms: the same.
        must: ratio that is asked for, None for rows without.
        aim: ratio that is hoped for.
        differences: between the results of the two sides.
        note: what else is to be known.
        disagreement: why the two sides were not timed; empty where they compute the same.
    """

    name: str
    peer: str
    ours_ms: dict[str, float] | None
    peer_ms: dict[str, float] | None
    must: float | None = None
    aim: float | None = None
    differences: dict[str, float] = field(default_factory=dict)
    note: str = ""
    disagreement: str = ""

    @property
    def ratio(self) -> dict[str, float] | None:
        """How many times as long the peer takes: of the minima and of the medians."""
        if self.ours_ms is None or self.peer_ms is None:
            return None
        return {key: self.peer_ms[key] / self.ours_ms[key] for key in ("min", "median")}

    @property
    def holds(self) -> bool | None:
        """Whether both ratios reach what must be; None where nothing is asked or known."""
        if self.must is None or self.ratio is None:
            return None
        return min(self.ratio.values()) >= self.must

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "holds": self.holds}


HEADER = "| work | beside | ours, ms | peer, ms | ratio min · median | must | aim | differences |"


def markdown(rows: list[Row]) -> str:
    """The table, with notes below."""
    lines = [HEADER, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [
            row.name,
            row.peer,
            _pair(row.ours_ms),
            _pair(row.peer_ms),
            "–" if row.ratio is None else f"{row.ratio['min']:.1f} · {row.ratio['median']:.1f}",
            _asked(row.must, row.holds),
            _asked(row.aim),
            ", ".join(f"{key} {value:.0e}" for key, value in row.differences.items()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    notes = [f"{row.name} ({row.peer}): {text}" for row in rows for text in _remarks(row) if text]
    return "\n".join([*lines, "", *notes] if notes else lines)


def _remarks(row: Row) -> tuple[str, str]:
    return row.disagreement and f"not timed, {row.disagreement}", row.note


def _pair(ms: dict[str, float] | None) -> str:
    return "–" if ms is None else f"{ms['min']:.3g} · {ms['median']:.3g}"


def _asked(value: float | None, holds: bool | None = None) -> str:
    if value is None:
        return ""
    return f"{value:g}×" + ("" if holds is None else " ✓" if holds else " ✗")


@dataclass(frozen=True)
class Limit:
    """A number of ours that has to keep within something.

    Attributes:
        name: what it is.
        unit: of it.
        ours: the number.
        must: what it must not exceed, or reach where ``at_least``.
        aim: the same, hoped for.
        peer: the peer's number.
        at_least: more is better.
        note: what else is to be known.
    """

    name: str
    unit: str
    ours: float
    must: float | None = None
    aim: float | None = None
    peer: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        if self.must is None:
            return None
        return self.ours >= self.must if self.at_least else self.ours <= self.must

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def limits_markdown(limits: list[Limit]) -> str:
    """The table of limits."""
    lines = ["| what | ours | mace-torch | must | aim | |", "|---|---|---|---|---|---|"]
    for limit in limits:
        sign = "≥" if limit.at_least else "≤"
        asked = [
            "" if value is None else f"{sign} {value:.3g} {limit.unit}".strip()
            for value in (limit.must, limit.aim)
        ]
        if limit.holds is not None:
            asked[0] += " ✓" if limit.holds else " ✗"
        numbers = [
            "" if value is None else f"{value:.3g} {limit.unit}".strip()
            for value in (limit.ours, limit.peer)
        ]
        lines.append("| " + " | ".join([limit.name, *numbers, *asked, limit.note]) + " |")
    return "\n".join(lines)
