"""Records of earlier versions are read for ever, and say what they cost."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mace_core.config.labellers import EMTLabeller
from mace_core.label.host import processor
from mace_core.label.record import Record
from mace_core.label.run import label_frames
from mace_core.label.store import LabelFolder, LabelStore
from mace_core.label.theory import describe
from mace_core.storage import sha256_json

#: Written by the version that knew format 1 only: one converged label, one failure.
OLD = Path(__file__).parent / "data" / "format_1" / "c4a49b32e48279bf"


def test_records_of_format_1_load_and_verify():
    converged, failed = LabelFolder(OLD).records()
    assert (converged.format, converged.status, failed.status) == (1, "converged", "failed")
    assert converged.energy == pytest.approx(3.472063452518165, abs=0)
    assert np.array(converged.to_atoms().arrays["REF_forces"]).shape == (2, 3)
    assert converged.threads is None and converged.core_seconds is None
    assert not converged.imported
    for record in (converged, failed):
        stored = (
            json.loads((OLD / f"{record.frame_id}.json").read_text()) if record.converged else 0
        )
        assert record.sha256 == (record.to_json())["sha256"]
        assert not stored or record.to_json() == stored


def test_a_changed_record_of_format_1_is_damaged(tmp_path):
    text = (OLD / "2b2f01b52371be2ddf8d.json").read_text()
    folder = LabelFolder(tmp_path / OLD.name)
    folder.folder.mkdir()
    for changed in (text.replace("3.47", "3.48"), text.replace('"format": 1', '"format": 2')):
        assert changed != text
        folder.path("2b2f01b52371be2ddf8d").write_text(changed)
        assert folder.get("2b2f01b52371be2ddf8d").status == "damaged"
    folder.path("2b2f01b52371be2ddf8d").write_text(text.replace('"format": 1', '"format": 9'))
    assert "format 9, and this version knows" in folder.get("2b2f01b52371be2ddf8d").reason


def test_the_level_of_theory_kept_its_name():
    """Ids of labels that are paid for must never change with a version of this code."""
    theory = json.loads((OLD / "theory.json").read_text())
    assert sha256_json(theory)[:16] == OLD.name
    now = describe(EMTLabeller(max_force=3.0, max_net_force=None, time_limit=5))
    assert now | {"versions": theory["versions"]} == theory


def test_a_label_says_what_it_cost_and_where(tmp_path):
    store = LabelStore(tmp_path, EMTLabeller())
    (outcome,) = label_frames([bulk("Cu")], EMTLabeller(), store, threads=2)
    record = store.get(outcome.record.frame_id)
    assert record.threads == 2
    assert record.core_seconds == pytest.approx(2 * record.wall_seconds, abs=0.002)
    assert record.processor == processor() and record.processor.endswith(" cores")
    assert record.engine_version.startswith("ase ") and record.rung == "default"


def test_core_seconds_add_up_over_retries(tmp_path):
    store = LabelStore(tmp_path, EMTLabeller())
    (first,) = label_frames([bulk("Ti")], EMTLabeller(), store, threads=1)
    (again,) = label_frames([bulk("Ti")], EMTLabeller(), store, threads=3, retry_failed=True)
    assert [a["status"] for a in again.record.attempts] == ["failed", "failed"]
    seconds = [a["seconds"] for a in again.record.attempts]
    assert again.record.core_seconds == pytest.approx(seconds[0] + 3 * seconds[1], abs=0.002)
    assert first.record.core_seconds == pytest.approx(seconds[0], abs=0.002)


def test_unknown_keys_are_refused():
    value = Record("0" * 20, "1" * 16, "failed", "why", [1], [[0, 0, 0]], [], [], 0, 0).to_json()
    Record.from_json(value)
    with pytest.raises(ValueError, match="keys"):
        Record.from_json(value | {"surprise": 1})
