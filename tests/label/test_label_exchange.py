"""Labels brought together, in and out: nothing overwritten, nothing half done, nothing unsaid."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk

from mace_core.config.labellers import EMTLabeller
from mace_core.errors import UserError
from mace_core.frames import canonical, read_frames, write_frames
from mace_core.label import keeping
from mace_core.label.exchange import merge
from mace_core.label.ledger import judged, levels
from mace_core.label.levels import level_in
from mace_core.label.run import label_frames
from mace_core.label.store import LabelFolder, LabelStore
from mace_core.storage import read_json
from mace_core.train.labelled import read_labelled


@pytest.fixture
def ours(tmp_path):
    return LabelStore(tmp_path / "ours", EMTLabeller())


@pytest.fixture
def theirs(tmp_path):
    return LabelStore(tmp_path / "theirs", EMTLabeller())


def roots(*stores):
    return [store.folder.parent for store in stores]


def content(store):
    paths = (path for path in store.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(store.folder)): path.read_bytes() for path in paths}


class TestMerge:
    """`maceloop labels merge SOURCE TARGET`."""

    def test_what_wins(self, ours, theirs, record, labels):
        theirs.put(record(theirs, 0))  # new
        theirs.put(record(theirs, 1, "failed"))  # a new failure
        theirs.outputs(record(theirs, 1).frame_id).mkdir(parents=True)
        (theirs.outputs(record(theirs, 1).frame_id) / "o.txt").write_text("why")
        theirs.put(record(theirs, 2))  # converged here, failed there
        ours.put(record(ours, 2, "timeout"))
        theirs.put(record(theirs, 3, "failed"))  # and the other way round
        ours.put(record(ours, 3))
        theirs.put(record(theirs, 4, host="elsewhere"))  # the same label, computed twice
        ours.put(record(ours, 4))
        theirs.put(record(theirs, 5, energy=-9.0, force=1.5))  # another label
        ours.put(record(ours, 5))
        ours.put(record(ours, 6))  # ours only
        before = content(theirs)
        code, said = labels("merge", *roots(theirs, ours))
        assert code == 1
        frame = record(ours, 5).frame_id
        assert (
            f"CONFLICT frame {frame}: -6.000000 eV is there and stays, the other one is -9.000000 "
            "eV; forces differ by up to 0.5 eV/Å" in said
        )
        last = said.splitlines()[-1]
        assert "2 new labels, 2 there already, 1 new failures, 1 in conflict" in last
        status = {n: ours.get(record(ours, n).frame_id).status for n in range(7)}
        assert status.pop(1) == "failed" and set(status.values()) == {"converged"}
        assert ours.get(frame).energy == -6.0
        assert ours.get(record(ours, 4).frame_id).host == "node7"
        assert (ours.outputs(record(ours, 1).frame_id) / "o.txt").read_text() == "why"
        assert content(theirs) == before

        after = content(ours)
        code, said = labels("merge", *roots(theirs, ours), "--json")
        (again,) = json.loads(said)
        assert (again["new"], again["failures"], again["same"]) == (0, 0, 5)
        assert again["conflicts"][0]["other"] == -9.0
        assert content(ours) == after

    def test_into_a_new_store(self, theirs, record, labels, tmp_path):
        theirs.put(record(theirs, 0))
        assert labels("merge", theirs.folder.parent, tmp_path / "new")[0] == 0
        assert content(LabelFolder(tmp_path / "new" / theirs.theory_id)) == content(theirs)

    def test_damage(self, ours, theirs, record, labels):
        theirs.put(record(theirs, 0))
        theirs.put(record(theirs, 1))
        ours.put(record(ours, 1))
        ours.put(record(ours, 2))
        torn = theirs.path(record(theirs, 0).frame_id)
        for path in (torn, ours.path(record(ours, 1).frame_id)):
            path.write_text(path.read_text()[:200])
        code, said = labels("merge", *roots(theirs, ours))
        assert code == 1
        assert f"NOT COPIED {torn}: damaged or changed" in said
        assert "1 new labels, 0 there already, 1 damaged ones replaced, 1 not copied" in said
        assert ours.get(record(ours, 0).frame_id) is None
        assert ours.get(record(ours, 1).frame_id).energy == -2.0
        assert len(list((ours.folder / "damaged").iterdir())) == 1
        assert not list(ours.folder.glob("*.claim*"))

    def test_a_theory_that_is_not_what_it_says_is_not_copied(self, theirs, record, tmp_path):
        theirs.put(record(theirs, 0))
        (theirs.folder / "theory.json").write_text("{}")
        (done,) = merge(theirs.folder.parent, tmp_path / "new")
        assert (done.new, len(done.not_copied)) == (1, 1)
        assert not (tmp_path / "new" / theirs.theory_id / "theory.json").exists()

    def test_notes_travel(self, ours, theirs, record):
        frames = [record(theirs, n).frame_id for n in range(4)]
        for n in range(4):
            theirs.put(record(theirs, n))
            theirs.doubts.write(frames[n], {"reason": "far off", "campaign": "cu"})
        theirs.releases.write(frames[1], {"reason": "looked at"})
        theirs.releases.write(frames[2], {"reason": "a mistake"})
        ours.put(record(ours, 3))
        ours.doubts.write(frames[3], {"reason": "ours"})
        merge(*roots(theirs, ours))
        ours.releases.withdraw(frames[2])
        (done,) = merge(*roots(theirs, ours))  # brings back nothing that was withdrawn
        assert done.notes == 0
        seen = [judged(ours, frame_id) for frame_id in frames]
        assert [found.status for found, _ in seen] == [
            "quarantined",
            "converged",
            "quarantined",
            "quarantined",
        ]
        assert seen[1][1] == "looked at" and seen[3][0].reason == "ours"
        assert ours.doubts.read(frames[0]) == theirs.doubts.read(frames[0])

    def test_what_is_no_store(self, ours, tmp_path, labels):
        (tmp_path / "empty").mkdir()
        for source, target, message in (
            (tmp_path / "none", ours.folder.parent, "no such label store"),
            (tmp_path / "empty", ours.folder.parent, "no level of theory"),
            (ours.folder.parent, tmp_path / "ours" / "." / "", "are the same store"),
            (ours.folder, tmp_path / "x", "is one level of theory"),
        ):
            with pytest.raises(UserError, match=message):
                labels("merge", source, target)

    def test_a_full_disk_is_said(self, ours, theirs, record, labels, monkeypatch):
        theirs.put(record(theirs, 0))

        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(LabelFolder, "put", full)
        with pytest.raises(UserError, match="not everything could be copied: No space left"):
            labels("merge", *roots(theirs, ours))

    def test_the_command_that_a_rescue_names_works_as_it_stands(self, ours, monkeypatch, tmp_path):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.setattr(keeping, "PATIENCE", 0.0)
        put = LabelStore.put

        def full(store, record):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(LabelStore, "put", full)
        frame = canonical(bulk("Cu", cubic=True))
        with pytest.raises(UserError, match="cannot be stored") as caught:
            label_frames([frame], EMTLabeller(), ours)
        monkeypatch.setattr(LabelStore, "put", put)
        command = re.search(r"maceloop (labels merge .*)$", caught.value.mend)[1].split()
        done = subprocess.run(
            [sys.executable, "-m", "mace_core.cli.main", *command], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "1 new labels" in done.stdout
        assert ours.get(frame.info["frame_id"]).converged


def foreign(n=3, energy="dft_energy", forces="dft_forces", stress="dft_stress"):
    frames = []
    for k in range(n):
        atoms = bulk("Cu", cubic=True)
        atoms.positions[0, 0] += 0.01 * (k + 1)
        atoms.info |= {energy: -1.5 - k, stress: np.full((3, 3), 0.01 * k), "note": "x"}
        atoms.arrays[forces] = np.array([[0.3 + k, 0, 0], [-0.3 - k, 0, 0], [0, 0, 0], [0, 0, 0]])
        frames.append(atoms)
    return frames


KEYS = ("--energy_key", "dft_energy", "--forces_key", "dft_forces", "--stress_key", "dft_stress")
LEVEL = ("--level", "PBE/def2-SVP, ORCA 5")


class TestImport:
    """`maceloop labels import`."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_by_a_level_in_words(self, labels, tmp_path):
        frames = foreign()
        frames.append(Atoms("Cu", info={"dft_energy": -0.5, "charge": 1, "spin": 0}))
        frames[2].info["spin"] = 2
        write_frames("theirs.xyz", frames)
        code, said = labels("import", "theirs.xyz", "--store", "S", *LEVEL, *KEYS)
        assert code == 0
        assert "PBE/def2-SVP, ORCA 5\n  4 frames, 4 new labels\n" in said
        (folder,) = levels("S")
        assert level_in(folder.folder) == "PBE/def2-SVP, ORCA 5"
        for n, atoms in enumerate(frames):
            record = folder.get(canonical(atoms).info["frame_id"])
            assert record.converged and record.imported
            assert record.energy == atoms.info["dft_energy"]
            assert record.origin["file"] == "theirs.xyz" and record.origin["frame"] == n
            assert len(record.origin["sha256"]) == 64
            assert record.core_seconds is None and record.wall_seconds == 0.0
            if n < 3:
                assert np.allclose(record.forces, atoms.arrays["dft_forces"])
                assert np.allclose(record.stress[:3], 0.01 * n)
        assert (record.charge, record.forces) == (1, [[0.0, 0.0, 0.0]])
        assert labels("verify", "--store", "S")[0] == 0
        said = labels("count", "--store", "S")[1]
        assert "4: 4 converged" in said and "imported  4" in said and "core-hours" not in said
        assert "from theirs.xyz, frame 2" in labels("list", "--store", "S")[1]
        shown = labels("show", record.frame_id, "--store", "S")[1]
        assert "imported  from theirs.xyz, frame 3 (sha256 " in shown

        before = content(folder)
        said = labels("import", "theirs.xyz", "--store", "S", *LEVEL, *KEYS)[1]
        assert "4 frames, 0 new labels, 4 there already" in said
        assert content(folder) == before

    def test_as_the_configurations_own_level_they_are_not_computed_again(self, labels, tmp_path):
        config = {
            "campaign": {"name": "cu", "label_store": "S"},
            "seed": {"structures": ["cu.xyz"]},
            "labeller": {"engine": "emt", "max_force": 2.0},
        }
        with open("c.yaml", "w") as handle:
            yaml.safe_dump(config, handle)
        frames = foreign(energy="REF_energy", forces="REF_forces", stress="REF_stress")
        write_frames("theirs.xyz", frames)
        said = labels("import", "theirs.xyz", "--config", "c.yaml")[1]
        assert "3 frames, 3 new labels, 1 of them in quarantine" in said
        settings = EMTLabeller(max_force=2.0)
        store = LabelStore("S", settings)
        outcomes = label_frames(frames, settings, store)
        assert not any(outcome.computed for outcome in outcomes)
        assert [o.record.status for o in outcomes] == ["converged", "converged", "quarantined"]
        assert outcomes[0].record.engine_version.startswith("ase ")

    def test_the_level_must_be_said(self, labels):
        write_frames("theirs.xyz", foreign())
        for extra in ((), ("--level", " "), (*LEVEL, "--config", "c.yaml")):
            with pytest.raises(UserError, match=r"must be said, once|--level is empty"):
                labels("import", "theirs.xyz", "--store", "S", *extra)

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda atoms: atoms.info.pop("dft_energy"), "no energy"),
            (lambda atoms: atoms.arrays.pop("dft_forces"), "no forces"),
            (lambda atoms: atoms.info.update(dft_energy=float("nan")), "not finite"),
            (lambda atoms: atoms.arrays["dft_forces"].__setitem__((1, 2), np.inf), "not finite"),
            (lambda atoms: atoms.info.update(dft_stress=[1.0, 2.0]), "shape"),
            (lambda atoms: atoms.info.update(dft_energy="high"), "not a number"),
        ],
    )
    def test_one_bad_frame_and_nothing_is_imported(self, labels, spoil, message):
        write_frames("good.xyz", foreign(2))
        frames = foreign(4)
        spoil(frames[2])
        write_frames("bad.xyz", frames)
        with pytest.raises(UserError, match=message) as caught:
            labels("import", "good.xyz", "bad.xyz", "--store", "S", *LEVEL, *KEYS)
        assert caught.value.where.startswith("bad.xyz, frame 2")
        assert not os.path.exists("S")

    def test_wrong_keys_are_told_what_there_is(self, labels):
        write_frames("theirs.xyz", foreign())
        with pytest.raises(UserError, match=r"no energy \(--energy_key REF_energy\)") as caught:
            labels("import", "theirs.xyz", "--store", "S", *LEVEL)
        assert "dft_energy, dft_forces, dft_stress" in caught.value.where

    def test_a_truncated_or_missing_file(self, labels):
        write_frames("theirs.xyz", foreign())
        with open("theirs.xyz") as handle:
            text = handle.read()
        with open("half.xyz", "w") as handle:
            handle.write(text[: int(0.6 * len(text))])
        for name, message in (("half.xyz", "cannot read frames"), ("none.xyz", "file not found")):
            with pytest.raises(UserError, match=message):
                labels("import", "theirs.xyz", name, "--store", "S", *LEVEL, *KEYS)
        assert not os.path.exists("S")

    def test_repeats_and_conflicts_are_told(self, labels):
        first, second, third = foreign()
        again, other = first.copy(), second.copy()
        other.info["dft_energy"] += 0.25
        write_frames("a.xyz", [first, second, again])
        write_frames("b.xyz", [other, third])
        said = labels("import", "a.xyz", "b.xyz", "--store", "S", *LEVEL, *KEYS)[1]
        assert "REPEATED a.xyz, frame 2: the same frame as a.xyz, frame 0, which counts\n" in said
        assert "b.xyz, frame 0: the same frame as a.xyz, frame 1, which counts; its energy" in said
        assert "is higher by 0.25 eV\n" in said
        assert "5 frames, 3 new labels, 2 repeated" in said
        said = labels("import", "b.xyz", "--store", "S", *LEVEL, *KEYS)[1]
        assert "CONFLICT b.xyz, frame 0: the store has -2.500000 eV" in said
        assert "2 frames, 0 new labels, 1 there already, 1 in conflict" in said

    def test_a_damaged_record_in_the_way(self, labels):
        write_frames("a.xyz", foreign(1))
        labels("import", "a.xyz", "--store", "S", *LEVEL, *KEYS)
        (folder,) = levels("S")
        (frame_id,) = folder.frame_ids()
        folder.path(frame_id).write_text("{")
        write_frames("b.xyz", foreign(3)[::-1])
        with pytest.raises(UserError, match="is damaged: nothing was imported"):
            labels("import", "b.xyz", "--store", "S", *LEVEL, *KEYS)
        assert folder.frame_ids() == [frame_id]

    def test_a_broken_off_import_goes_on(self, labels, monkeypatch):
        write_frames("a.xyz", foreign(3))
        put, left = LabelFolder.put, [2]

        def full(folder, record):
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            return put(folder, record)

        monkeypatch.setattr(LabelFolder, "put", full)
        with pytest.raises(UserError, match="2 of 3 labels are written, the next one cannot be"):
            labels("import", "a.xyz", "--store", "S", *LEVEL, *KEYS)
        monkeypatch.setattr(LabelFolder, "put", put)
        said = labels("import", "a.xyz", "--store", "S", *LEVEL, *KEYS)[1]
        assert "1 new labels, 2 there already" in said

    def test_no_room(self, labels, monkeypatch):
        write_frames("a.xyz", foreign(3))
        real = os.statvfs(".")

        class Full:
            f_frsize, f_files, f_bavail, f_favail = real.f_frsize, real.f_files, 5, 1000

        monkeypatch.setattr("mace_core.label.adopt.os.statvfs", lambda place: Full)
        with pytest.raises(UserError, match="no room for 3 labels"):
            labels("import", "a.xyz", "--store", "S", *LEVEL, *KEYS)
        assert not os.path.exists("S")


class TestExport:
    """`maceloop labels export`."""

    def test_only_what_may_be_trained_on(self, ours, record, labels, tmp_path):
        for n in range(3):
            ours.put(record(ours, n, stress=[0.1, 0, 0, 0, 0, 0]))
        ours.put(record(ours, 3, "failed"))
        ours.put(record(ours, 4, force=500.0))
        ours.put(record(ours, frame=Atoms("Cu", info={"spin": 1}), energy=-0.25))
        ours.put(record(ours, frame=Atoms("Cu", info={"spin": 3}), energy=4.0))
        ours.doubts.write(record(ours, 1).frame_id, {"reason": "far off"})
        out = tmp_path / "set.xyz"
        code, said = labels("export", out, "--store", ours.folder.parent)
        assert (code, said) == (0, f"{out} · 4 labels; left out: 1 failed, 2 quarantined\n")
        frames, isolated = read_labelled(out)
        ids = {record(ours, n).frame_id for n in (0, 2)}
        assert {atoms.info["frame_id"] for atoms in frames if len(atoms) > 1} == ids
        (free,) = isolated
        assert free.info["REF_energy"] == -0.25
        for atoms in frames:
            if len(atoms) > 1:
                stored = ours.get(atoms.info["frame_id"])
                assert np.allclose(atoms.arrays["REF_forces"], stored.forces, atol=1e-8)
                assert np.allclose(atoms.info["REF_stress"], stored.stress)
        assert not any("label_status" in atoms.info for atoms in read_frames(out))

        labels("release", record(ours, 1).frame_id, "--reason", "fine", "--store", roots(ours)[0])
        said = labels("export", out, "--store", ours.folder.parent, "--formula", "Cu4")[1]
        assert "3 labels; left out: 1 failed, 1 quarantined" in said

    def test_out_and_in_again(self, ours, record, labels, tmp_path):
        for n in range(3):
            ours.put(record(ours, n))
        labels("export", tmp_path / "set.xyz", "--store", ours.folder.parent)
        labels("import", tmp_path / "set.xyz", "--store", tmp_path / "S", *LEVEL)
        (folder,) = levels(tmp_path / "S")
        for n in range(3):
            mine, copy = record(ours, n), folder.get(record(ours, n).frame_id)
            assert (mine.energy, mine.forces) == (copy.energy, copy.forces)

    def test_levels_are_not_mixed(self, ours, record, labels, tmp_path):
        ours.put(record(ours, 0))
        write_frames(tmp_path / "a.xyz", foreign(1))
        root = ours.folder.parent
        labels("import", tmp_path / "a.xyz", "--store", root, *LEVEL, *KEYS)
        with pytest.raises(UserError, match="2 levels of theory must not be trained on together"):
            labels("export", tmp_path / "o.xyz", "--store", root)
        config = tmp_path / "c.yaml"
        config.write_text(yaml.safe_dump({"labeller": {"engine": "emt"}}))
        said = labels("export", tmp_path / "o.xyz", "--store", root, "--config", config)[1]
        assert "1 labels" in said
        assert read_frames(tmp_path / "o.xyz")[0].info["REF_energy"] == -1.0

    def test_nothing_to_train_on(self, ours, record, labels, tmp_path):
        ours.put(record(ours, 0, "failed"))
        with pytest.raises(UserError, match="no label to train on: 1 failed"):
            labels("export", tmp_path / "o.xyz", "--store", ours.folder.parent)
        assert not (tmp_path / "o.xyz").exists()


class TestRelease:
    """`maceloop labels release`."""

    def test_release_and_undo(self, ours, record, labels):
        ours.put(record(ours, 0, force=500.0))
        ours.put(record(ours, 1))
        frame, sound = record(ours, 0).frame_id, record(ours, 1).frame_id
        place = ("--store", ours.folder.parent)
        with pytest.raises(UserError, match="--reason is empty"):
            labels("release", frame, *place)
        assert "is released" in labels("release", frame[:10], "--reason", "a  wall", *place)[1]
        assert ours.get(frame).converged
        assert judged(ours, frame)[1] == "a wall"
        note = read_json(ours.folder / "released" / f"{frame}.json")
        assert note["by"] and note["host"] and note["created"]
        with pytest.raises(UserError, match="released already: a wall"):
            labels("release", frame, "--reason", "again", *place)
        with pytest.raises(UserError, match="is converged: only labels in quarantine"):
            labels("release", sound, "--reason", "x", *place)
        assert "in quarantine again" in labels("release", frame, "--undo", *place)[1]
        assert ours.get(frame).status == "quarantined"
        with pytest.raises(UserError, match="was not released"):
            labels("release", frame, "--undo", *place)
        assert "is released" in labels("release", frame, "--reason", "sure", *place)[1]

    def test_of_several_levels_one_is_named(self, ours, record, labels, tmp_path):
        ours.put(record(ours, 0, force=500.0))
        other = LabelFolder(ours.folder.parent / ("0" * 16))
        copy = record(other, 0, force=500.0)
        other.put(copy)
        place = ("--store", ours.folder.parent)
        with pytest.raises(UserError, match="labels at 2 levels of theory") as caught:
            labels("release", copy.frame_id, "--reason", "x", *place)
        assert "0" * 16 in caught.value.mend
        labels("release", copy.frame_id, "--reason", "x", *place, "--theory", "000")
        assert other.get(copy.frame_id).converged
        assert ours.get(copy.frame_id).status == "quarantined"
