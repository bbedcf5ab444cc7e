"""One question of the stop rule, and how an assessment is read for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mace_core.config.campaign import Config
from mace_core.conventions import MEV

#: What ``assess.json`` holds (docs/contracts.md).
Assessment = Mapping[str, Any]
#: A row of ``audit_frames``, or of ``walks``, in it.
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One question of the stop rule.

    Attributes:
        name: of the check.
        kind: ``convergence`` (all must pass to converge), ``limit`` (one that fails spends the
            budget), or ``stall`` (one that fails is a stall).
        passed: the answer.
        value: what was measured; errors in eV/Å.
        limit: what it is held against, in the same unit.
        message: both in a reader's words.
        waiting: it failed for want of audit frames alone: what was measured is within the limit.
    """

    name: str
    kind: str
    passed: bool
    value: Any
    limit: Any
    message: str
    waiting: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def audit(record: Assessment) -> Mapping[str, Any]:
    return record.get("audit") or {}


def bound(record: Assessment) -> float | None:
    """Upper confidence bound of the audited force MAE, eV/Å; None when there is none."""
    return audit(record).get("force_mae_high")


def streak(history: Sequence[Assessment], config: Config) -> int:
    """Generations in a row, up to the last one, whose bound is below the target."""
    run, target = 0, config.stop.target_force_mae * MEV
    for record in reversed(history[1:]):
        if not below(bound(record), target):
            break
        run += 1
    return run


def below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def join(checks: Sequence[Check], named: bool = False) -> str:
    return "; ".join(f"{c.name} ({c.message})" if named else c.message for c in checks)


def mev(value: float) -> str:
    return f"{value / MEV:.3g}"
