"""The labelled frames in chemiscope: its dataset, and its script as the wheel ships it."""

import json
from importlib.resources import files

import chemiscope
import numpy as np
from ase import Atoms

from mace_core.chronicle import Generation, true_error, uncertainty
from mace_core.conventions import FRAME_ID, GROUP, MEV, ROLE, WHY_PICKED, FrameRole

#: Atoms in the viewer in all (about 40 bytes of the page each); the latest frames come first.
MAX_ATOMS = 40_000


def script() -> str:
    """chemiscope's JavaScript (a UMD bundle that defines ``Chemiscope``)."""
    return (files(chemiscope) / "sphinx" / "static" / "chemiscope.min.js").read_text()


def frames_dataset(generations: list[Generation], name: str) -> tuple[dict | None, int]:
    """The frames sent to be labelled, with what was said of them and what was true.

    Isolated atoms are left out.

    Returns:
        chemiscope's dataset (None without frames), and how many frames did not fit into
        :data:`MAX_ATOMS`.
    """
    rows = [
        _row(generation, atoms, scored)
        for generation in generations
        for scored in [{a.info.get(FRAME_ID): a for s in generation.scored.values() for a in s}]
        for atoms in generation.selected
        if atoms.info.get(ROLE) != FrameRole.ISOLATED
    ]
    size, first = 0, len(rows)
    while first > 0 and size + len(rows[first - 1]["atoms"]) <= MAX_ATOMS:
        first -= 1
        size += len(rows[first]["atoms"])
    shown = rows[first:]
    if not shown:
        return None, first
    measured = any(np.isfinite(row["error"]) for row in shown)
    properties = {
        "generation": _property([row["generation"] for row in shown], "selected in"),
        "uncertainty": _property([row["uncertainty"] for row in shown], "calibrated", "meV/Å"),
        "true error": _property(
            [row["error"] for row in shown], "largest atomic force error", "meV/Å"
        ),
        "role": _property([row["role"] for row in shown], "why it was labelled"),
        "label": _property([row["status"] for row in shown], "outcome of the label"),
        "group": _property([row["group"] for row in shown], "walker group"),
        "why": _property([row["why"] for row in shown], "why it was picked"),
        "frame": _property([float(i) for i in range(len(shown))], "in order of selection"),
    }
    if not measured:
        properties = {k: v for k, v in properties.items() if not _all_nan(v["values"])}
    x, y = ("uncertainty", "true error") if measured else ("frame", "generation")
    periodic = any(row["atoms"].pbc.any() for row in shown)
    dataset = chemiscope.create_input(
        structures=[row["atoms"] for row in shown],
        metadata={"name": name},
        properties=properties,
        settings={
            "map": {
                "x": {"property": x},
                "y": {"property": y},
                "color": {"property": "generation"},
                "symbol": "role",
                "size": {"factor": 45},
            },
            "structure": [{"bonds": True, "spaceFilling": False, "unitCell": periodic}],
        },
    )
    for structure in dataset["structures"]:
        for axis in "xyz":
            structure[axis] = [round(float(v), 3) for v in structure[axis]]
    return dataset, first


def as_json(dataset: dict) -> str:
    """``dataset`` as JSON that may stand in a script element; NaN becomes null."""
    text = json.dumps(_without_nan(dataset), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _row(generation: Generation, atoms: Atoms, scored: dict[str, Atoms]) -> dict:
    frame_id = atoms.info.get(FRAME_ID)
    label = generation.label_status.get(frame_id, {})
    predicted = scored.get(frame_id)
    bare = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return {
        "atoms": bare,
        "generation": float(generation.g),
        "uncertainty": uncertainty(atoms, generation.factor) / MEV,
        "error": true_error(predicted) / MEV if predicted is not None else float("nan"),
        "role": str(atoms.info.get(ROLE, "")),
        "status": label.get("status", "unknown"),
        "group": str(atoms.info.get(GROUP, "–")),
        "why": str(atoms.info.get(WHY_PICKED, "")),
    }


def _property(values: list, description: str, units: str = "") -> dict:
    content = {"target": "structure", "values": values, "description": description}
    return content | ({"units": units} if units else {})


def _all_nan(values: list) -> bool:
    return all(isinstance(v, float) and not np.isfinite(v) for v in values)


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
