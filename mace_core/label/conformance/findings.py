"""What a check found, and in which words."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One check's outcome on one frame."""

    verdict: Verdict
    message: str  # what was seen
    mend: str = ""  # what to do about it, where it failed
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    check: str = ""
    frame: str = ""
    seconds: float = 0.0
    labels: int = 0  # computed by this check

    def to_json(self) -> dict[str, Any]:
        """As ``check-labeller --out`` writes it."""
        return asdict(self)

    def line(self) -> str:
        """For a reader: verdict, check, frame, number, words."""
        verdict = {Verdict.OK: "ok     ", Verdict.FAILED: "FAILED ", Verdict.SKIPPED: "skipped"}
        number = "" if self.value is None else f"{self.value:.2g} {self.unit}"
        if number and self.limit is not None:
            number += f" (limit {self.limit:g})"
        words = " · ".join(part for part in (number, self.message, f"{self.seconds:.1f} s") if part)
        text = f"{verdict[self.verdict]}  {self.check:<17} {self.frame:<12} {words}"
        return text + (f"\n           mend: {self.mend}" if self.mend else "")


def ok(message: str, **numbers: Any) -> Finding:
    return Finding(Verdict.OK, message, **numbers)


def failed(message: str, mend: str, **numbers: Any) -> Finding:
    return Finding(Verdict.FAILED, message, mend, **numbers)


def skipped(message: str) -> Finding:
    return Finding(Verdict.SKIPPED, message)


def judged(value: float, limit: float, unit: str, good: str, bad: str, mend: str) -> Finding:
    """ok where ``value`` ≤ ``limit``; NaN fails."""
    numbers = {"value": float(value), "limit": limit, "unit": unit}
    return ok(good, **numbers) if value <= limit else failed(bad, mend, **numbers)
