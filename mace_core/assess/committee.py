"""committee.json: the members of a generation, and the factor that makes their spread an error."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mace_core.assess.calibration import calibrate
from mace_core.assess.score import load_committee, score
from mace_core.config.campaign import parse_config
from mace_core.errors import UserError
from mace_core.frames import read_frames
from mace_core.storage import read_json, write_json


def calibrate_committee(
    plan: dict[str, Any],
    valid: str | Path,
    out: str | Path,
    models: Sequence[str | Path],
    committee: Any = None,
) -> dict[str, Any]:
    """Write committee.json.

    The factor comes from the audits before this generation (in the plan). Where there are none,
    it comes from the held-out validation frames; these chose each member's best epoch, so that
    their errors are somewhat too small, and the source says what they are.

    Args:
        plan: of the generation.
        valid: validation frames; dataset.json lies beside them.
        out: committee.json.
        models: the members' folders.
        committee: instead of the one made of ``models``.

    Returns:
        The content of committee.json.

    Raises:
        UserError: there is nothing to calibrate on, or the members have no spread.
    """
    config = parse_config(plan["config"], where="plan.json")
    g = plan["generation"]
    content = {
        "generation": g,
        "members": [str(folder) for folder in models],
        "dataset": read_json(Path(valid).parent / "dataset.json")["sha256"],
        "calibration": plan["calibration"],
    }
    if content["calibration"] is None:
        members = committee or load_committee(content, config)
        frames = score(read_frames(valid), members, None, f"gen {g} · calibrate")
        content["calibration"] = _from_validation(frames, config.stop.coverage, g, str(valid))
    write_json(out, content)
    return content


def _from_validation(frames, coverage: float, g: int, where: str) -> dict[str, Any]:
    found = calibrate([(g, frames)], coverage, "validation frames")
    if found is None:
        raise UserError(
            "no held-out frame with forces to calibrate the committee on",
            where=where,
            mend="raise data.valid_fraction, or label more frames",
        )
    return found
