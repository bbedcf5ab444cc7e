"""committee.json: which models make a committee, and how far to trust their spread."""

from dataclasses import dataclass
from pathlib import Path

from mace_core.errors import UserError
from mace_core.storage import read_json


@dataclass(frozen=True)
class CommitteeFile:
    """What exploration and selection need of it."""

    members: list[str]  # folders of the models
    factor: float  # uncertainty = factor × largest committee force spread of a frame


def read_committee(path: str | Path) -> CommitteeFile:
    """Read committee.json; raises :class:`UserError` when it is missing."""
    if not Path(path).is_file():
        raise UserError(f"committee file not found: {path}", mend="run `maceloop calibrate` first")
    content = read_json(path)
    return CommitteeFile(content["members"], float(content["calibration"]["factor"]))
