"""committee.json: the members of a generation, and the factor that makes their spread an error."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from mace_core.assess.calibration import calibrate, is_calibrated
from mace_core.assess.measured_with import with_differences
from mace_core.assess.score import load_committee, score
from mace_core.assess.scores import NO_ERROR
from mace_core.config.campaign import parse_config
from mace_core.conventions import REF_FORCES
from mace_core.errors import UserError
from mace_core.frames import read_frames
from mace_core.layout import Layout
from mace_core.storage import read_json, write_json


def calibrate_committee(
    plan: dict[str, Any],
    valid: str | Path,
    out: str | Path,
    models: Sequence[str | Path],
    committee: Any = None,
) -> dict[str, Any]:
    """Write committee.json.

    The factor comes from the audits before this generation (in the plan). Where they calibrated
    nothing, it comes from the held-out validation frames; these chose each member's best epoch, so
    that their errors are somewhat too small, and the source says what they are. Where those are too
    few as well, the factor is an assumption.

    Args:
        plan: of the generation.
        valid: validation frames; dataset.json and train.extxyz lie beside them.
        out: committee.json.
        models: the members' folders.
        committee: instead of the one made of ``models``.

    Returns:
        The content of committee.json.

    Raises:
        UserError: the data have no forces at all, or the members have no spread.
    """
    config = parse_config(plan["config"], where="plan.json")
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    g = plan["generation"]
    content = {
        "generation": g,
        "members": [str(folder) for folder in models],
        "dataset": read_json(Path(valid).parent / "dataset.json")["sha256"],
    }
    calibration = plan["calibration"]
    if calibration is None or not is_calibrated(calibration):
        members = committee or load_committee(content, config)
        held_out = read_frames(valid)
        frames = score(held_out, members, None, f"gen {g} · calibrate")
        found = calibrate([(g, frames)], config.stop.coverage, "validation frames")
        if found["n_frames"] == 0:
            _with_forces(held_out, Path(valid))
        # An assumption of the audits has seen what the newest models had never seen.
        calibration = found if found["calibrated"] or calibration is None else calibration
    content["calibration"] = with_differences(calibration, config, layout, g)
    write_json(out, content)
    return content


def _with_forces(held_out: Sequence[Atoms], valid: Path) -> None:
    """Refuse data of which no frame says anything of forces: nothing can ever be calibrated."""
    train = valid.with_name("train.extxyz")
    frames = [*held_out, *(read_frames(train) if train.is_file() else [])]
    if not any(
        REF_FORCES in atoms.arrays
        and np.linalg.norm(atoms.arrays[REF_FORCES], axis=1).max() > NO_ERROR
        for atoms in frames
    ):
        raise UserError(
            "the committee cannot be calibrated: no frame of the data has forces other than zero",
            where=str(valid),
            mend="label frames with forces, of atoms away from symmetric positions",
        )
