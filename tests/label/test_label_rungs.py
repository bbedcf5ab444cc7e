"""Which rung of the retry ladder gave a label is recorded, shown, and does not change the label."""

import pytest
from ase import Atoms

from mace_core.config.labellers import PySCFLabeller
from mace_core.frames import read_frames, write_frames
from mace_core.label.command import label_file
from mace_core.label.run import label_frames, labelled_frame
from mace_core.label.store import LabelStore

pytestmark = pytest.mark.engine("pyscf")


def stretched():
    """NH₂, a radical, with one bond far out."""
    atoms = Atoms("NH2", [[0, 0, 0], [1.02, 0, 0], [-0.24, 1.35, 0]])
    atoms.info.update(charge=0, spin=1)
    return atoms


def test_a_later_rung_gives_the_label_of_a_default_that_converges(tmp_path, capsys):
    patient = PySCFLabeller(basis="6-31g", max_cycle=100)
    hasty = patient.model_copy(update={"max_cycle": 7})
    frame = stretched()
    (expected,) = label_frames([frame], patient, LabelStore(tmp_path / "patient", patient))
    assert (expected.record.rung, len(expected.record.attempts)) == ("default", 1)

    store = LabelStore(tmp_path / "labels", hasty)
    assert store.theory_id == LabelStore(tmp_path / "patient", patient).theory_id
    (found,) = label_frames([frame], hasty, store)
    record = found.record
    assert record.converged and record.rung != "default"
    assert record.attempts[0]["status"] == "unconverged"
    assert record.attempts[-1] == record.attempts[-1] | {
        "rung": record.rung,
        "status": "converged",
    }
    with capsys.disabled():
        print("\n", record.rung, record.energy - expected.record.energy, "eV")
    assert record.energy == pytest.approx(expected.record.energy, abs=1e-5)
    assert labelled_frame(frame, found).info["label_rung"] == record.rung

    write_frames(tmp_path / "in.extxyz", [frame])
    (tmp_path / "c.yaml").write_text(
        "campaign: {name: t}\nseed: {structures: [in.extxyz]}\n"
        "labeller: {engine: pyscf, basis: 6-31g, max_cycle: 7}\n"
    )
    label_file(
        tmp_path / "in.extxyz", tmp_path / "c.yaml", tmp_path / "o.extxyz", store.folder.parent
    )
    assert f"1 by rung {record.rung}" in capsys.readouterr().out
    assert read_frames(tmp_path / "o.extxyz")[0].info["label_rung"] == record.rung
