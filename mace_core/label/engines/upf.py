"""What a pseudopotential file says of itself (UPF versions 1 and 2)."""

import re
from dataclasses import dataclass
from pathlib import Path

from mace_core.errors import UserError


@dataclass(frozen=True)
class Pseudopotential:
    """Header of a UPF file."""

    element: str
    norm_conserving: bool
    functional: str  # as it is written there
    valence: float  # electrons


def read_upf(path: Path) -> Pseudopotential:
    """The header of a UPF file.

    Raises:
        UserError: it cannot be read or is none.
    """
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as err:
        raise UserError(f"pseudopotential cannot be read: {err.strerror}", where=str(path)) from err
    header = re.search(r"<PP_HEADER(.*?)(/>|</PP_HEADER>)", text, re.DOTALL)
    try:
        if header is None:
            raise ValueError("no PP_HEADER")
        attributes = dict(re.findall(r'(\w+)\s*=\s*"\s*(.*?)\s*"', header[1]))
        return _version_2(attributes) if "element" in attributes else _version_1(header[1])
    except (KeyError, ValueError, IndexError) as err:
        raise UserError(
            f"no pseudopotential in UPF format: {err}",
            where=str(path),
            mend="give a UPF file, e.g. of PseudoDojo, SSSP or SG15",
        ) from err


def _version_2(attributes: dict[str, str]) -> Pseudopotential:
    return Pseudopotential(
        element=attributes["element"].capitalize(),
        norm_conserving=attributes["pseudo_type"].upper() in ("NC", "SL"),
        functional=" ".join(attributes["functional"].split()),
        valence=_number(attributes["z_valence"]),
    )


def _version_1(header: str) -> Pseudopotential:
    """Lines of a value and what it is, in a fixed order, after a line with the tag's end."""
    lines = header.partition(">")[2].strip().splitlines()
    return Pseudopotential(
        element=lines[1].split()[0].capitalize(),
        norm_conserving=lines[2].split()[0].upper() == "NC",
        functional=" ".join(word for word in lines[4].split() if word.isupper()),
        valence=_number(lines[5].split()[0]),
    )


def _number(text: str) -> float:
    return float(text.lower().replace("d", "e"))
