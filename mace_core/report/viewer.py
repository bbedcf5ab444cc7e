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


def labelled_frames(generations: list[Generation]) -> list[dict]:
    """The frames sent to be labelled, what was said of them, what was true; no isolated atoms.

    Returns:
        One dict a frame: ``atoms``, ``frame_id``, ``generation``, ``uncertainty`` and ``error``
        (eV/Å; NaN where not known), ``role``, ``status``, ``group``, ``why``.
    """
    rows = []
    for generation in generations:
        sets = [*generation.scored.values(), generation.doubted]
        scored = {a.info.get(FRAME_ID): a for frames in sets for a in frames}
        for atoms in generation.selected:
            if atoms.info.get(ROLE) == FrameRole.ISOLATED:
                continue
            frame_id = atoms.info.get(FRAME_ID)
            predicted = scored.get(frame_id)
            rows.append(
                {
                    "atoms": Atoms(
                        atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc
                    ),
                    "frame_id": frame_id,
                    "generation": generation.g,
                    "uncertainty": uncertainty(atoms, generation.factor),
                    "error": float("nan") if predicted is None else true_error(predicted),
                    "role": str(atoms.info.get(ROLE, "")),
                    "status": generation.label_status.get(frame_id, {}).get("status", "unknown"),
                    "group": str(atoms.info.get(GROUP, "–")),
                    "why": str(atoms.info.get(WHY_PICKED, "")),
                }
            )
    return rows


def frames_dataset(rows: list[dict], name: str) -> tuple[dict | None, int]:
    """chemiscope's dataset of :func:`labelled_frames`.

    Returns:
        The dataset (None without frames), and how many frames, the oldest, did not fit into
        :data:`MAX_ATOMS`.
    """
    size, first = 0, len(rows)
    while first > 0 and size + len(rows[first - 1]["atoms"]) <= MAX_ATOMS:
        first -= 1
        size += len(rows[first]["atoms"])
    shown = rows[first:]
    if not shown:
        return None, first
    known = [i for i, row in enumerate(shown) if np.isfinite(row["error"] * row["uncertainty"])]
    properties = {
        "generation": _property([float(row["generation"]) for row in shown], "selected in"),
        "uncertainty": _property(
            [row["uncertainty"] / MEV for row in shown], "calibrated", "meV/Å"
        ),
        "true error": _property(
            [row["error"] / MEV for row in shown], "largest atomic force error", "meV/Å"
        ),
        "role": _property([row["role"] for row in shown], "why it was labelled"),
        "label": _property([row["status"] for row in shown], "outcome of the label"),
        "group": _property([row["group"] for row in shown], "walker group"),
        "frame": _property([float(i) for i in range(len(shown))], "in order of selection"),
    }
    properties = {k: v for k, v in properties.items() if not _all_nan(v["values"])}
    x, y = ("uncertainty", "true error") if known else ("frame", "generation")
    dataset = chemiscope.create_input(
        structures=[row["atoms"] for row in shown],
        metadata={"name": name},
        properties=properties,
        settings={
            "map": {
                "x": {"property": x, "scale": "log" if known else "linear"},
                "y": {"property": y, "scale": "log" if known else "linear"},
                "color": {"property": "generation"},
                "symbol": "role",
                "size": {"factor": 45},
            },
            "pinned": [known[-1] if known else 0],
            "structure": [
                {
                    "bonds": True,
                    "spaceFilling": False,
                    "unitCell": any(bool(row["atoms"].pbc.any()) for row in shown),
                }
            ],
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
