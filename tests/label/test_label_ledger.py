"""The ledger: what a store holds, as rows, numbers and verdicts, and on the command line."""

import csv
import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from ase import Atoms
from ase.build import molecule

from mace_core.config.labellers import ASELabeller, PySCFLabeller
from mace_core.errors import UserError
from mace_core.label.ledger import Filter, counts, find, hill, judged, levels, row_of, rows
from mace_core.label.levels import level_of, stated_level
from mace_core.label.store import LabelFolder, LabelStore
from mace_core.storage import read_json, write_json

EMT = {"calculator": "ase.calculators.emt:EMT"}
OLD = Path(__file__).parent / "data" / "format_1" / "c4a49b32e48279bf"


@pytest.fixture
def store(tmp_path):
    return LabelStore(tmp_path / "labels", ASELabeller(**EMT))


@pytest.fixture
def root(store, record):
    """A store with one label of each kind at one level of theory, two of format 1 at another."""
    store.put(record(store, 0))
    store.put(record(store, 1, rung="damped"))
    store.put(record(store, 2, force=200.0))  # implausible
    store.put(record(store, 3))  # doubted below
    store.put(record(store, 4, "unconverged"))
    store.put(record(store, frame=molecule("H2O"), created="2026-05-01T00:00:00+00:00"))
    store.put(record(store, 6))  # torn below
    doubted, torn = (record(store, n).frame_id for n in (3, 6))
    store.doubts.write(doubted, {"reason": "the committee is 2 eV/Å off", "campaign": "cu"})
    whole = store.path(torn).read_text()
    store.path(torn).write_text(whole[:300])
    root = store.folder.parent
    shutil.copytree(OLD, root / OLD.name)
    (root / "notes-of-mine").mkdir()
    return root


def by_frame(store, record, root, **filters):
    ours = levels(root, store.theory_id)
    names = {record(store, n).frame_id: n for n in range(7)}
    return {names.get(row.frame_id, "water"): row for row in rows(ours, Filter(**filters))}


def test_rows_say_status_reason_and_cost(store, record, root):
    found = by_frame(store, record, root)
    status = {n: row.status for n, row in found.items()}
    assert status == {
        0: "converged",
        1: "converged",
        2: "quarantined",
        3: "quarantined",
        4: "unconverged",
        6: "damaged",
        "water": "converged",
    }
    assert "force of 200 eV/Å" in found[2].reason
    assert found[3].reason == "the committee is 2 eV/Å off"
    assert found[4].reason == "it was unconverged" and found[4].energy is None
    assert str(store.path(found[6].frame_id)) in found[6].reason
    row = found[1]
    assert (row.formula, row.n_atoms, row.energy, row.max_force) == ("Cu4", 4, -2.0, 1.0)
    assert (row.rung, row.wall_seconds, row.core_hours) == ("damped", 36.0, 72.0 / 3600)
    assert (row.engine_version, row.processor) == ("ase 3.29.0", "Abacus, 4 cores")
    assert row.host == "node7" and row.created.startswith("2026-03-01") and row.origin == {}


def test_a_campaigns_doubt_is_shown_and_withdraws_nothing(store, record, root):
    frame_id = record(store, 3).frame_id
    assert store.get(frame_id).converged
    assert judged(store, frame_id)[0].status == "quarantined"
    store.releases.write(frame_id, {"reason": "looked at it"})
    assert judged(store, frame_id) == (store.get(frame_id), "looked at it")
    both = record(store, 2).frame_id
    store.doubts.write(both, {"reason": "too far off"})
    assert judged(store, both)[0].reason.endswith("; too far off")
    # A release of what nobody doubts says nothing.
    store.releases.write(record(store, 0).frame_id, {"reason": "why not"})
    assert judged(store, record(store, 0).frame_id)[1] == ""


def test_limits_are_those_of_the_configuration(store, record, root):
    frame_id = record(store, 2).frame_id

    def seen(labeller):
        (folder,) = levels(root, store.theory_id, labeller)
        return judged(folder, frame_id)[0].status

    assert seen(ASELabeller(**EMT, max_force=300.0)) == "converged"
    assert seen(None) == seen(PySCFLabeller(max_force=300.0)) == "quarantined"


def test_filters(store, record, root):
    def kept(**filters):
        return set(by_frame(store, record, root, **filters))

    assert kept(statuses=frozenset({"quarantined", "damaged"})) == {2, 3, 6}
    assert kept(elements=frozenset({"H"})) == kept(elements=frozenset("HO")) == {"water"}
    assert kept(elements=frozenset({"H", "Cu"})) == set()
    assert kept(formula="OH2") == {"water"}
    assert kept(formula="Cu") == set()
    assert kept(since=datetime(2026, 4, 1, tzinfo=UTC)) == {"water"}
    assert kept(since=datetime(2026, 3, 1, 12, tzinfo=UTC)) == {0, 1, 2, 3, 4, "water"}
    with pytest.raises(UserError, match="no chemical formula"):
        hill("H2O)")


def test_counts_add_up(store, root):
    store.releases.write(next(iter(store.doubts.frame_ids())), {"reason": "fine"})
    new, old = sorted(counts(levels(root)), key=lambda count: count.theory_id == OLD.name)
    assert new.labels == 7
    assert new.status == {"converged": 4, "quarantined": 1, "unconverged": 1, "damaged": 1}
    assert new.rung == {"default": 4, "damped": 1}
    assert new.wall_seconds == 6 * 36.0
    assert new.core_hours == pytest.approx(6 * 72 / 3600)
    assert (new.released, new.imported, new.core_hours_unknown) == (1, 0, 0)
    assert new.processor == {"Abacus, 4 cores": 6}
    assert new.level.startswith("ase 3.")
    assert (old.labels, old.core_hours_unknown, old.core_hours) == (2, 2, 0.0)
    assert old.processor == {"not recorded": 2}


def test_a_frame_is_found_by_the_beginning_of_its_id(store, record, root):
    frame_id = record(store, 0).frame_id
    ((folder, found),) = find(levels(root), frame_id[:12])
    assert (folder.theory_id, found) == (store.theory_id, frame_id)
    with pytest.raises(UserError, match="ids begin with ''"):
        find(levels(root), "")
    with pytest.raises(UserError, match="no label of a frame"):
        find(levels(root), "zz")


def test_what_is_no_store_is_said(store, root, tmp_path):
    with pytest.raises(UserError, match="no such label store"):
        levels(tmp_path / "nowhere")
    with pytest.raises(UserError, match="is one level of theory of a label store"):
        levels(store.folder)
    with pytest.raises(UserError, match="no level of theory begins with 'zz'") as caught:
        levels(root, "zz")
    assert store.theory_id in caught.value.mend


def test_names_with_a_dot_are_no_records(store, record, root):
    before = store.frame_ids()
    (store.folder / f".{'0' * 20}.json").write_text("{}")
    (store.folder / f".{'0' * 20}.json.ab12.tmp").write_text("{")
    store.doubts.path(f".{'0' * 20}").write_text("{}")
    assert store.frame_ids() == before
    assert list(store.doubts.frame_ids()) == [record(store, 3).frame_id]


def test_levels_in_words(store):
    said = level_of(
        {
            "format": 1,
            "engine": "pyscf",
            "versions": {"pyscf": "2.9.0", "pyscf-dispersion": "1.3"},
            "settings": PySCFLabeller(dispersion="d3bj").model_dump(mode="json"),
        }
    )
    assert said == "pyscf 2.9.0 (pyscf-dispersion 1.3) · xc pbe · basis def2-svp · dispersion d3bj"
    assert level_of(stated_level(" PBE/def2-SVP,\n ORCA 5 ")) == "PBE/def2-SVP, ORCA 5"
    assert stated_level("a  b") == stated_level("a b")
    with pytest.raises(UserError, match="--level is empty"):
        stated_level("  ")


def test_a_row_of_nothing():
    """What stands for a damaged record has no atoms."""
    from mace_core.label.record import Record

    row = row_of(Record.damaged("0" * 20, "1" * 16, "torn"))
    assert (row.formula, row.n_atoms, row.max_force) == ("", 0, None)


def test_notes_are_withdrawn_not_deleted(store):
    notes = store.releases
    assert not notes.withdraw("a" * 20)
    for reason in ("first", "second"):
        assert notes.write("a" * 20, {"reason": reason})
        assert notes.withdraw("a" * 20)
    assert [note["reason"] for note in notes.withdrawn("a" * 20)] == ["first", "second"]
    assert notes.read("a" * 20) is None and not list(notes.frame_ids())
    # Another store's copy of a note that was withdrawn here does not come back.
    assert not notes.adopt(notes.withdrawn("a" * 20)[0])
    assert notes.adopt({"frame_id": "a" * 20, "reason": "third"})


class TestVerify:
    """`maceloop labels verify`: each kind of damage by name."""

    def test_a_sound_store(self, labels, store, record):
        store.put(record(store, 0))
        store.put(record(store, 4, "failed"))
        store.doubts.write(record(store, 0).frame_id, {"reason": "?"})
        code, said = labels("verify", "--store", store.folder.parent)
        assert code == 0
        assert said == f"theory {store.theory_id} · 2 records, 1 notes: none damaged\n"
        code, said = labels("verify", "--store", OLD.parent)
        assert code == 0 and "2 records" in said

    @pytest.mark.parametrize(
        ("damage", "named", "problem"),
        [
            (lambda s, r: s.path(r).write_text("{"), "converged", "damaged or changed"),
            (lambda s, r: s.path(r).rename(s.path("0" * 20)), "0" * 20, "another name"),
            (lambda s, r: s.path(r).rename(s.failed_path(r)), "failed", "of status converged"),
            (lambda s, r: (s.folder / "x.y.json").write_text("{}"), "x.y", "no file of a label"),
            (lambda s, r: write_json(s.doubts.path(r), {}), "quarantine", "no note on this frame"),
            (lambda s, r: (s.folder / "theory.json").unlink(), "theory", "missing"),
            (lambda s, r: (s.folder / "theory.json").write_text("{"), "theory", "cannot be read"),
            (
                lambda s, r: write_json(s.folder / "theory.json", {"format": 1}),
                "theory",
                "its content is that of theory",
            ),
        ],
    )
    def test_damage_is_named(self, labels, store, record, damage, named, problem):
        store.put(record(store, 0))
        store.put(record(store, 1))
        frame_id = record(store, 0).frame_id
        damage(store, frame_id)
        code, said = labels("verify", "--store", store.folder.parent)
        assert code == 1
        (line,) = [line for line in said.splitlines() if line.startswith("DAMAGED")]
        assert problem in line
        assert (frame_id if named == "converged" else named) in line.partition(": ")[0]
        code, said = labels("verify", "--store", store.folder.parent, "--json")
        assert code == 1 and len(json.loads(said)[0]["damaged"]) == 1

    def test_a_geometry_that_is_not_the_frames(self, labels, store, record):
        """The hash of the content is right, and yet it is the label of other atoms."""
        forged = record(store, 0)
        forged.positions[0][0] += 0.5
        store.put(forged)
        flat = record(store, 1)
        flat.forces = flat.forces[:2]
        store.put(flat)
        code, said = labels("verify", "--store", store.folder.parent)
        assert code == 1
        assert "its geometry is that of frame" in said and "forces is missing, not finite" in said


class TestCommands:
    """`maceloop labels list`, `count`, `show`."""

    def test_list(self, labels, store, record, root):
        code, said = labels("list", "--store", root)
        assert code == 0
        assert f"theory {store.theory_id} · ase 3." in said and f"theory {OLD.name}" in said
        (line,) = [line for line in said.splitlines() if record(store, 3).frame_id in line]
        assert line.split()[1:3] == ["Cu4", "quarantined"]
        assert line.endswith("the committee is 2 eV/Å off")

    def test_list_for_scripts(self, labels, store, record, root):
        arguments = ("list", "--store", root, "--theory", store.theory_id[:6])
        _, said = labels(*arguments, "--json", "--status", "converged", "--element", "Cu")
        found = json.loads(said)
        assert {row["frame_id"] for row in found} == {record(store, n).frame_id for n in (0, 1)}
        assert found[0]["core_hours"] == pytest.approx(0.02)
        _, said = labels(*arguments, "--csv")
        table = list(csv.DictReader(io.StringIO(said)))
        assert len(table) == 7 and {row["status"] for row in table} >= {"damaged", "unconverged"}
        _, said = labels(*arguments, "--csv", "--since", "2026-04-01")
        assert [row["formula"] for row in csv.DictReader(io.StringIO(said))] == ["H2O"]
        assert labels(*arguments, "--formula", "Au") == (0, "no labels\n")
        with pytest.raises(UserError, match="--element: Xx is no element"):
            labels(*arguments, "--element", "Xx")

    def test_count(self, labels, store, root):
        _, said = labels("count", "--store", root, "--theory", store.theory_id)
        assert "7: 3 converged, 1 damaged, 2 quarantined, 1 unconverged" in said
        assert "0.060 h, 0.120 core-hours\n" in said
        assert "6 Abacus, 4 cores" in said and "1 damped, 4 default" in said
        _, said = labels("count", "--store", root, "--json")
        assert sum(item["labels"] for item in json.loads(said)) == 9
        _, said = labels("count", "--store", root, "--theory", OLD.name)
        assert "and 2 labels that do not say their cores" in said

    def test_show(self, labels, store, record, root):
        frame_id = record(store, 3).frame_id
        store.releases.write(frame_id, {"reason": "fine"})
        store.outputs(frame_id).mkdir(parents=True)
        _, said = labels("show", frame_id[:14], "--store", root)
        for part in (
            f"frame {frame_id} · Cu4, 4 atoms, charge 0, spin 0",
            "status    converged\n",
            "released  fine (by ",
            "doubted   the committee is 2 eV/Å off (by ",
            "-4.000000 eV, force up to 1.0000 eV/Å\n",
            "ase 3.29.0, 2026-03-01T12:00:00+00:00, on node7 (Abacus, 4 cores)",
            "36.0 s wall",
            f"outputs   {store.outputs(frame_id)}",
        ):
            assert part in said
        _, said = labels("show", frame_id, "--store", root, "--json")
        (shown,) = json.loads(said)
        assert shown["doubt"]["campaign"] == "cu" and shown["release"]["reason"] == "fine"
        assert shown["forces"] == record(store, 3).forces

    def test_the_store_and_its_limits_are_the_configurations(self, labels, store, record, root):
        config = root.parent / "c.yaml"
        values = {
            "campaign": {"name": "cu", "label_store": str(root)},
            "seed": {"structures": ["cu.xyz"]},
            "labeller": {"engine": "ase", "max_force": 500.0, **EMT},
        }
        config.write_text(yaml.safe_dump(values))
        _, said = labels("count", "--config", config, "--theory", store.theory_id, "--json")
        assert json.loads(said)[0]["status"]["quarantined"] == 1

    def test_the_default_store(self, labels, root, monkeypatch):
        monkeypatch.chdir(root.parent)
        assert labels("count") == labels("count", "--store", root)
        monkeypatch.chdir(root)
        with pytest.raises(UserError, match="no such label store: labels"):
            labels("count")


def test_an_old_store_reads(store, record):
    """Of a level of theory whose theory.json is lost, the labels are still shown."""
    store.put(record(store, 0))
    (store.folder / "theory.json").unlink()
    (count,) = counts(levels(store.folder.parent))
    assert count.labels == 1 and count.level.startswith("unknown")
    assert read_json(store.path(record(store, 0).frame_id))["energy"] == -1.0
    assert isinstance(levels(store.folder.parent)[0], LabelFolder)
    assert row_of(record(store, frame=Atoms("H"))).max_force == 0.0
