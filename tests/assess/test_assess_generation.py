"""One generation's assessment, from files to files: EMT labels and a committee of known error."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from small_campaign import (
    WrongCommittee,
    copper,
    generation,
    generation_0,
    label,
    layout_of,
    settings,
)

from mace_core.assess.committee import calibrate_committee
from mace_core.assess.generation import assess_generation
from mace_core.assess.said import lines
from mace_core.campaign_tables import generations_table
from mace_core.chronicle import Chronicle
from mace_core.committee_file import read_committee
from mace_core.errors import UserError
from mace_core.frames import read_frames, write_frames
from mace_core.label.store import LabelStore
from mace_core.storage import read_json, write_json
from mace_core.summary import summarise, write_summary
from mace_core.summary_text import text


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def assess(config, g, plan, committee=None):
    layout = layout_of(config)
    paths = (layout.committee(g), layout.selected(g).parent / "select.json") if g else ()
    return assess_generation(
        plan, layout.merged(g), layout.assess(g), *paths, **({"committee": committee} if g else {})
    )


def test_generation_0_counts_labels(tmp_path):
    config = settings()
    result = assess(config, 0, generation_0(config, n=5, fail=(1,)))
    assert result["outcome"] == "continue"
    assert result["labels"]["calls"] == 6
    assert result["labels"]["converged"] == 5
    assert result["labels"]["unconverged"] == 1
    assert result["labels"]["total_calls"] == 6
    assert result["start"] == {"frames": 4, "labelled_frames": 0, "without_E0": {}}
    assert result["audit"] is None
    assert read_json(layout_of(config).assess(0)) == result
    assert "5 converged, 1 failed" in "\n".join(lines(result))


def found_in_the_store(config, g, n):
    """Say of the first ``n`` labels of a generation that they lay in the store."""
    path = layout_of(config).merged(g)
    merged = read_json(path)
    for entry in merged["labels"][:n]:
        entry["computed"] = False
    write_json(path, merged)


def test_calls_that_the_store_answered_count_and_are_told_apart():
    config = settings()
    plan = generation_0(config, n=5)
    found_in_the_store(config, 0, 2)
    first = assess(config, 0, plan)
    assert (first["labels"]["calls"], first["labels"]["found"]) == (6, 2)
    assert "6 calls (4 computed, 2 found in the store), 6 converged" in "\n".join(lines(first))
    plan = generation(config, 1, [copper(k) for k in range(4)])
    result = assess(config, 1, plan, WrongCommittee())
    assert (result["labels"]["total_calls"], result["labels"]["total_found"]) == (15, 2)
    assert plan["labels_spent"] == 6  # a rebuild buys nothing with what it found
    said = "\n".join(lines(result))
    assert "9 calls (all computed)" in said
    assert "in all 15 calls (13 computed, 2 found in the store)" in said
    summary = summarise(layout_of(config), config)
    assert summary["total"]["found"] == 2
    assert "15 label calls (13 computed, 2 found in the store; 0 failed)" in text(summary)
    table = generations_table(Chronicle(config).generations)
    assert table["found"].tolist() == [2, 0] and table["total_found"].tolist() == [2, 2]


def test_what_an_earlier_version_did_not_say_is_not_called_none():
    config = settings()
    assess(config, 0, generation_0(config))
    path = layout_of(config).assess(0)
    old = read_json(path)
    del old["labels"]["found"], old["labels"]["total_found"]
    write_json(path, old)
    plan = generation(config, 1, [copper(k) for k in range(4)])
    result = assess(config, 1, plan, WrongCommittee())
    assert (result["labels"]["found"], result["labels"]["total_found"]) == (0, None)
    assert "in all 14 calls" in "\n".join(lines(result))
    assert "14 label calls (0 failed)" in text(summarise(layout_of(config), config))


def test_generation_0_without_enough_labels_is_stalled_and_names_statuses():
    config = settings()
    result = assess(config, 0, generation_0(config, n=3, fail=(0, 1)))
    assert result["outcome"] == "stalled"
    assert "2 unconverged" in result["reason"]
    assert "1 labelled frames" in result["reason"]


def test_generation_0_without_an_isolated_atom_is_stalled():
    config = settings()
    result = assess(config, 0, generation_0(config, isolated="timeout"))
    assert result["outcome"] == "stalled"
    assert "Cu (timeout)" in result["reason"]
    average = settings(data={"E0s": "average"}, campaign={"name": "other"})
    assert assess(average, 0, generation_0(average, isolated="timeout"))["outcome"] == "continue"


def test_labelled_data_are_a_start_too():
    config = settings()
    label(config, [a for a in [copper(0)] if a.info.update(role="seed") is None])
    store = LabelStore("labels", config.labeller)
    frames = [store.get(copper(0).info["frame_id"]).to_atoms() for _ in range(2)]
    write_frames("mine.xyz", frames)
    config = settings(data={"labelled": ["mine.xyz"]})
    result = assess(config, 0, generation_0(config, n=2, fail=(0, 1)))
    assert result["start"]["labelled_frames"] == 2
    assert result["outcome"] == "continue"


def two_generations(config, error=0.02, **keys):
    assess(config, 0, generation_0(config))
    plan = generation(config, 1, [copper(k) for k in range(4)], **keys)
    return plan, WrongCommittee(error=error)


def test_models_are_tested_on_labels_they_never_saw():
    config = settings()
    plan, committee = two_generations(config)
    result = assess(config, 1, plan, committee)
    # Every atom's x component is wrong by 20 meV/Å, the other two by nothing.
    assert result["audit"]["force_mae"] == pytest.approx(0.02 / 3)
    assert result["audit"]["max_force_error"] == pytest.approx(0.02)
    assert result["audit"]["n_frames"] == 6
    assert result["picked"]["n_frames"] == 3
    assert result["frozen"] is None
    assert set(result["audit"]["by_group"]) == {"300K", "900K"}
    assert set(result["audit"]["by_element"]) == {"Cu"}
    # Spread 0.01 and error 0.02: a factor of 4 covers all; the scores are all 2.
    assert result["measured_coverage"] == {
        "covered": 6,
        "n_frames": 6,
        "share": 1.0,
        "expected": 0.9,
    }
    assert result["calibration"]["factor"] == pytest.approx(2.0)
    assert result["calibration"]["level"] == pytest.approx(6 / 7)
    assert result["walkers"]["ends"] == {"completed": 2}
    assert result["walkers"]["stable_fraction"] == 1.0
    assert result["selection"] == {
        "candidates": 9,
        "picked": 3,
        "audit": 6,
        "exam": 0,
        "no_candidates": None,
    }
    assert result["labels"]["total_calls"] == 5 + 9
    assert result["outcome"] == "continue"
    assert result["notes"] == []
    said = "\n".join(lines(result))
    assert "audit · force MAE 6.7 meV/Å" in said
    assert "CONTINUE" in said


def test_the_scored_frames_are_written_with_labels_and_predictions():
    config = settings()
    plan, committee = two_generations(config)
    assess(config, 1, plan, committee)
    layout = layout_of(config)
    frames = read_frames(layout.predictions(1, "audit"))
    assert len(frames) == 6
    for atoms in frames:
        delta = atoms.arrays["MACE_forces"] - atoms.arrays["REF_forces"]
        assert np.allclose(delta, [0.02, 0, 0], atol=1e-6)
        assert np.allclose(atoms.arrays["MACE_forces_std"], 0.01)
        assert atoms.info["MACE_uncertainty"] == pytest.approx(0.04)  # not the walker's 99
        assert atoms.info["role"] == "audit"
        assert atoms.info["group"] in ("300K", "900K")
        assert "MACE_stress" in atoms.info
    assert len(read_frames(layout.predictions(1, "picked"))) == 3


def test_a_frame_that_trained_is_not_scored_and_that_is_said():
    config = settings()
    assess(config, 0, generation_0(config))
    plan = generation(config, 1, [copper(0), copper(1000)])  # the first audit frame of generation 1
    result = assess(config, 1, plan, committee := WrongCommittee())
    assert result["audit"]["n_frames"] == 5
    assert copper(1000).info["frame_id"] not in committee.seen
    assert "1 of 9 labelled frames" in result["notes"][0]
    assert "1 of 9 labelled frames" in "\n".join(lines(result))


def spoil(config, g, k, shift=1.0):
    """Make a stored label wrong, as an engine in another state would: energy off by ``shift``."""
    store = LabelStore(config.campaign.label_store, config.labeller)
    frame_id = read_json(layout_of(config).merged(g))["labels"][k]["frame_id"]
    record = replace(store.get(frame_id), energy=store.get(frame_id).energy + shift)
    store.path(frame_id).unlink()
    store.put(record)
    return store, frame_id


def test_a_label_that_the_committee_doubts_is_quarantined_and_shown():
    config = settings()
    plan, committee = two_generations(config)
    sound = assess(config, 1, plan, committee)
    assert sound["quarantine"] == []
    store, frame_id = spoil(config, 1, 2)
    result = assess(config, 1, plan, committee)
    (entry,) = result["quarantine"]
    assert entry["frame_id"] == frame_id and entry["role"] == "audit"
    assert entry["error"]["energy"] == pytest.approx(0.25)
    assert entry["reason"] in "\n".join(lines(result))
    assert "8 converged, 0 failed, 1 in quarantine" in "\n".join(lines(result))
    assert (result["labels"]["quarantined"], result["labels"]["converged"]) == (1, 8)
    # Whoever looks at the store sees it too.
    note = store.doubts.read(frame_id)
    assert note["reason"] == entry["reason"]
    assert (note["campaign"], note["generation"]) == ("cu", 1)
    # It judges no model, and calibrates none.
    assert result["audit"]["n_frames"] == 5
    assert result["audit"]["energy_mae"] == pytest.approx(0, abs=1e-6)
    assert "1 of 6 audit labels in quarantine" in result["notes"][0]
    assert result["calibration"]["n_frames"] == 5
    layout = layout_of(config)
    kept = {a.info["frame_id"] for a in read_frames(layout.predictions(1, "audit"))}
    (apart,) = read_frames(layout.predictions(1, "quarantine"))
    assert len(kept) == 5 and frame_id not in kept
    assert apart.info["frame_id"] == frame_id and "MACE_energy" in apart.info
    assert {c["name"] for c in result["checks"] if not c["passed"]} >= {"audit_labels"}
    assert summarise(layout, config)["total"]["quarantined"] == 1

    # Released by hand, it is a label like the others.
    store.releases.write(frame_id, {"reason": "computed again by hand"})
    assert summarise(layout, config)["total"]["quarantined"] == 0
    released = assess(config, 1, plan, committee)
    assert released["quarantine"] == [] and released["audit"]["n_frames"] == 6
    assert not read_frames(layout.predictions(1, "quarantine"))


def test_doubts_can_be_switched_off():
    config = settings(label={"outlier_factor": None})
    plan, committee = two_generations(config)
    spoil(config, 1, 2)
    assert assess(config, 1, plan, committee)["quarantine"] == []


def test_the_frozen_test_set_is_scored_with_the_users_keys():
    config = settings(
        data={"frozen_test": "test.xyz", "energy_key": "dft_energy", "forces_key": "dft_forces"}
    )
    frames = [copper(k) for k in (70, 71, 0)]  # 0 is trained on
    for k, (atoms, found) in enumerate(
        zip(frames, WrongCommittee(error=0.0).predict(frames), strict=True)
    ):
        atoms.info["dft_energy"] = found.energy
        if k:
            atoms.arrays["dft_forces"] = found.forces
    write_frames("test.xyz", frames)
    assess(config, 0, generation_0(config))
    plan = generation(config, 1, [copper(k) for k in range(4)])
    result = assess(config, 1, plan, WrongCommittee(error=0.06, shift=0.5))
    assert result["frozen"]["n_frames"] == 2
    assert result["frozen"]["force_mae"] == pytest.approx(0.02)
    assert result["frozen"]["force_mae_high"] is None  # forces on one of them only
    assert result["frozen"]["energy_mae"] == pytest.approx(0.5)
    assert result["frozen"]["energy_mae_centred"] == pytest.approx(0, abs=1e-6)
    assert "1 of 3 frozen test frames" in result["notes"][0]


def test_a_frozen_frame_that_was_trained_on_in_another_guise_is_not_scored():
    config = settings(data={"frozen_test": "test.xyz"})
    shifted, turned, reordered = copper(0), copper(1), copper(2)[[2, 0, 3, 1]]
    shifted.positions += 0.7
    turned.rotate(90, "x", rotate_cell=True)
    held_out, kept = copper(50)[::-1], [copper(k) for k in (70, 71)]
    frames = [shifted, turned, reordered, held_out, copper(3), *kept]
    for atoms, found in zip(frames, WrongCommittee(error=0.0).predict(frames), strict=True):
        atoms.info["REF_energy"] = found.energy
        atoms.arrays["REF_forces"] = found.forces
        atoms.info.pop("frame_id", None)
    write_frames("test.xyz", frames)
    assess(config, 0, generation_0(config))
    plan = generation(config, 1, [copper(k) for k in range(4)])
    result = assess(config, 1, plan, WrongCommittee())
    assert result["frozen"]["n_frames"] == 2
    assert result["notes"] == [
        "5 of 7 frozen test frames in test.xyz were trained on, or are near-duplicates of trained "
        "frames (in another order, shifted or turned): not scored"
    ]
    assert result["audit"]["n_frames"] == 6  # only a test set is held to that


def test_a_campaign_converges_and_says_where_everything_is():
    config = settings()
    plan, committee = two_generations(config)
    assess(config, 1, plan, committee)
    plan = generation(config, 2, [copper(k) for k in range(4)], factor=1.0)
    assert plan["calibration"]["factor"] == pytest.approx(2.0)
    assert plan["labels_spent"] == 14
    result = assess(config, 2, plan, committee)
    assert result["outcome"] == "converged"
    assert result["calibration"]["source"] == "audit of generation 2"
    assert result["calibration"]["n_frames"] == 6
    assert result["measured_coverage"]["covered"] == 0
    summary = write_summary(layout_of(config), config)
    assert summary == read_json(layout_of(config).summary)
    assert summary["outcome"] == "converged"
    assert summary["total"]["calls"] == 23
    assert [row["generation"] for row in summary["generations"]] == [0, 1, 2]
    assert summary["generations"][2]["n_train"] == 4
    assert summary["paths"]["model"] == "results/cu/gen_02/train"
    assert summary["paths"]["models"] == [f"results/cu/gen_02/train/member_{m}" for m in (0, 1)]
    shown = text(summary)
    student = "maceloop distill results/cu/gen_02 --out results/cu/student"
    for words in (
        "CONVERGED",
        "23 label calls",
        f"6.7 [{result['audit']['force_mae_high'] * 1e3:.1f}]",
        "gen_02/train",
        "mlflow ui",
        student,
    ):
        assert words in shown


def test_the_summary_follows_the_present_configuration():
    config = settings()
    plan, committee = two_generations(config)
    assess(config, 1, plan, committee)
    assert summarise(layout_of(config), config)["outcome"] == "continue"
    fewer = settings(campaign={"max_generations": 1})
    assert summarise(layout_of(config), fewer)["outcome"] == "budget_spent"
    assert "BUDGET SPENT, not converged" in text(summarise(layout_of(config), fewer))


def test_walks_of_the_final_exam_count_and_one_that_did_not_start_is_neither_stable_nor_not():
    config = settings()
    ends = ("completed", "close_contact", "completed", "not_started")
    plan, committee = two_generations(config, ends=ends)
    plan["sizes"]["walkers"] = 4  # two, and an exam in two strata
    walkers = assess(config, 1, plan, committee)["walkers"]
    assert walkers["n"] == 4
    assert walkers["ends"] == {"close_contact": 1, "completed": 2, "not_started": 1}
    assert walkers["stable_fraction"] == pytest.approx(2 / 3)
    assert "1 not_started" in text(summarise(layout_of(config), config))


def test_unstable_ends_are_counted_and_shown():
    config = settings()
    plan, committee = two_generations(config, ends=("close_contact", "uncertain"))
    result = assess(config, 1, plan, committee)
    assert result["walkers"]["stable_fraction"] == 0.5
    assert "stable_md" in result["reason"]
    assert "1 uncertain, 1 close_contact (!)" in text(summarise(layout_of(config), config))


def test_how_far_walks_got_is_summed_up():
    config = settings()
    plan, committee = two_generations(config)
    layout = layout_of(config)
    for w, (done, furthest) in enumerate(((100, 0.3), (0, 0.0))):
        path = layout.walker(1, w).with_suffix(".json")
        steps = {"steps_asked": 100, "steps_done": done, "max_displacement": furthest}
        write_json(path, read_json(path) | steps)
    walkers = assess(config, 1, plan, committee)["walkers"]
    assert (walkers["steps_asked"], walkers["steps_done"]) == (200, 100)
    assert walkers["median_share"] == 0.5 and walkers["max_displacement"] == 0.15
    assert walkers["ended_at_start"] == 1 and walkers["factor"] == 4.0


def test_walks_of_an_earlier_version_do_not_say_how_far_they_got():
    config = settings()
    plan, committee = two_generations(config)
    walkers = assess(config, 1, plan, committee)["walkers"]
    unknown = ("steps_asked", "steps_done", "median_share", "max_displacement", "ended_at_start")
    assert not {walkers[key] for key in unknown} & {None}
    for w in range(2):
        path = layout_of(config).walker(1, w).with_suffix(".json")
        told = read_json(path)
        for key in ("steps_asked", "steps_done", "max_displacement", "stratum", "exam"):
            del told[key]
        write_json(path, told)
    result = assess(config, 1, plan, committee)
    assert {result["walkers"][key] for key in unknown} == {None}
    assert [row["stratum"] for row in result["walks"]] == ["cu.xyz"] * 2  # of their frames
    assert not any(row["exam"] for row in result["walks"])
    assert "walked" not in {check["name"] for check in result["checks"]}


def test_walks_that_get_shorter_while_the_error_falls_are_a_finding():
    config = settings()
    plan, _ = two_generations(config)
    layout = layout_of(config)

    def walks(g, *done):
        for w, n in enumerate(done):
            path = layout.walker(g, w).with_suffix(".json")
            write_json(path, read_json(path) | {"steps_asked": 100, "steps_done": n})

    walks(1, 100, 90)
    assert assess(config, 1, plan, WrongCommittee(error=0.06))["notes"] == []
    plan = generation(
        config, 2, [copper(k) for k in range(4)], ends=("uncertain", "uncertain"), factor=24.0
    )
    walks(2, 20, 40)
    result = assess(config, 2, plan, WrongCommittee(error=0.03))
    (note,) = result["notes"]
    assert "did 30% of its steps, 95% in the generation before (2 of 2 stopped" in note
    assert "fell from 20 to 10 meV/Å" in note and "was 24, 4 in the generation before" in note
    assert note in "\n".join(lines(result))


def test_no_audit_frames_keep_the_calibration():
    config = settings()
    plan, committee = two_generations(config, n_audit=0)
    result = assess(config, 1, plan, committee)
    assert result["audit"] is None
    assert result["measured_coverage"] is None
    assert result["calibration"]["factor"] == 4.0
    assert "calibration stays" in result["notes"][0]
    assert result["outcome"] == "continue"


def test_labels_of_another_generation_are_refused():
    config = settings()
    plan, committee = two_generations(config)
    layout = layout_of(config)
    write_json(layout.merged(1), read_json(layout.merged(1)) | {"generation": 2})
    with pytest.raises(UserError, match="labels of generation 2"):
        assess(config, 1, plan, committee)


def test_a_lost_record_is_an_error_not_a_smaller_audit():
    config = settings()
    plan, committee = two_generations(config)
    lost = read_json(layout_of(config).merged(1))["labels"][0]["frame_id"]
    LabelStore("labels", config.labeller).path(lost).unlink()
    with pytest.raises(UserError, match="not in the label store"):
        assess(config, 1, plan, committee)


def hold_out(config, g, seeds, error=0.0):
    """Labelled validation frames of generation ``g``; labels off by ``error`` eV/Å."""
    path = layout_of(config).dataset(g) / "valid.extxyz"
    frames = [copper(k) for k in seeds]
    for atoms, found in zip(frames, WrongCommittee(error).predict(frames), strict=True):
        atoms.arrays["REF_forces"] = found.forces
    write_frames(path, frames)
    return path


def test_committee_is_calibrated_on_validation_frames_first():
    config = settings()
    plan, committee = two_generations(config)
    layout = layout_of(config)
    valid, out = hold_out(config, 1, range(80, 86)), layout.committee(1)
    made = calibrate_committee(plan, valid, out, ["a/m0", "a/m1"], committee)
    assert made == read_json(out)
    assert made["members"] == ["a/m0", "a/m1"]
    assert made["dataset"] == "0" * 64
    assert made["calibration"]["factor"] == pytest.approx(2.0)
    assert made["calibration"]["calibrated"]
    assert made["calibration"]["level"] == pytest.approx(6 / 7)
    assert made["calibration"]["source"] == "validation frames of generation 1"


def test_a_first_calibration_from_two_frames_is_none():
    config = settings()
    plan, committee = two_generations(config)
    layout = layout_of(config)
    made = calibrate_committee(
        plan, hold_out(config, 1, (80, 81)), layout.committee(1), ["m0", "m1"], committee
    )
    found = made["calibration"]
    assert (found["factor"], found["calibrated"], found["level"]) == (3.0, False, None)
    assert found["n_frames"] == 2 and "5 are needed" in found["source"]
    assert read_committee(layout.committee(1)).factor == 3.0
    result = assess(config, 1, plan, committee)
    assert result["measured_coverage"] == {
        "covered": 6,
        "n_frames": 6,
        "share": 1.0,
        "expected": None,
    }
    said = "\n".join(lines(result))
    assert "6 of 6 audit frames, by an assumed factor: not calibrated yet" in said
    assert "factor for the next generation: 2 (90% interval 2 to 2)" in said
    assert result["calibration"]["calibrated"]
    assert write_summary(layout, config)["generations"][1]["measured_coverage"]["expected"] is None


def test_held_out_frames_without_forces_do_not_stop_a_campaign_that_has_some():
    config = settings()
    plan, committee = two_generations(config)
    layout = layout_of(config)
    valid = layout.dataset(1) / "valid.extxyz"  # one frame without forces
    train = [copper(k) for k in range(4)]
    train[2].arrays["REF_forces"] = WrongCommittee(0.0).predict(train)[2].forces
    write_frames(layout.dataset(1) / "train.extxyz", train)
    found = calibrate_committee(plan, valid, layout.committee(1), ["m"], committee)["calibration"]
    assert (found["calibrated"], found["n_frames"], found["factor"]) == (False, 0, 3.0)


def test_one_atom_cells_calibrate_nothing_and_alone_are_refused():
    """Forces, errors and spread are 0 by symmetry: a factor of them would be 0."""
    config = settings()
    plan, _ = two_generations(config)
    layout = layout_of(config)
    cells = [bulk("Cu", a=a) for a in np.linspace(3.5, 3.7, 7)]
    for atoms in cells:
        atoms.arrays["REF_forces"] = np.zeros((1, 3))
    valid, out = layout.dataset(1) / "valid.extxyz", layout.committee(1)
    write_frames(valid, cells)
    symmetric = WrongCommittee(error=2e-16, spread=1e-17)
    with pytest.raises(UserError, match="cannot be calibrated"):
        calibrate_committee(plan, valid, out, ["m"], symmetric)
    hold_out(config, 1, (80,)).rename(layout.dataset(1) / "train.extxyz")
    write_frames(valid, cells)
    found = calibrate_committee(plan, valid, out, ["m"], symmetric)["calibration"]
    assert (found["factor"], found["calibrated"], found["n_frames"]) == (3.0, False, 0)
    assert "cannot be calibrated on 0 frames" in found["source"]


def test_validation_frames_calibrate_where_audits_did_not():
    config = settings()
    plan, committee = two_generations(config, n_audit=2)
    layout = layout_of(config)
    calibrate_committee(
        plan, hold_out(config, 1, (80,)), layout.committee(1), ["m0", "m1"], committee
    )
    result = assess(config, 1, plan, WrongCommittee(error=0.05))
    assert (result["calibration"]["calibrated"], result["calibration"]["n_frames"]) == (False, 2)
    assert result["calibration"]["factor"] == pytest.approx(5.0)
    assert "not calibrated yet (assumed factor 5)" in "\n".join(lines(result))
    plan = generation(config, 2, [copper(0)])
    few = calibrate_committee(
        plan, hold_out(config, 2, (80, 81)), layout.committee(2), ["m"], committee
    )
    assert few["calibration"] == plan["calibration"] == result["calibration"]
    enough = calibrate_committee(
        plan, hold_out(config, 2, range(80, 86)), layout.committee(2), ["m"], committee
    )
    assert enough["calibration"]["source"] == "validation frames of generation 2"
    assert enough["calibration"]["factor"] == pytest.approx(2.0)


class Unalike(WrongCommittee):
    """Four times the spread on one frame."""

    def __init__(self, frame_id, **keys):
        super().__init__(**keys)
        self.frame_id = frame_id

    def predict(self, frames, batch_size=8, stress=False):
        found = super().predict(frames, batch_size, stress)
        for atoms, prediction in zip(frames, found, strict=True):
            if atoms.info.get("frame_id") == self.frame_id:
                prediction.forces_std = 4 * prediction.forces_std
                prediction.max_forces_std *= 4
        return found


def test_older_audits_are_shown_to_the_newest_committee():
    config = settings()
    plan, _ = two_generations(config)
    assess(config, 1, plan, WrongCommittee(error=0.04))
    audited = [a.info["frame_id"] for a in read_frames(layout_of(config).predictions(1, "audit"))]
    plan = generation(config, 2, [copper(k) for k in range(4)], n_audit=1)
    newest = Unalike(audited[0], error=0.02)
    result = assess(config, 2, plan, newest)
    # One score of 2, and five of 4 from the older audit: the one seen otherwise is left out.
    assert result["calibration"]["n_frames"] == 6
    assert result["calibration"]["factor"] == pytest.approx(4.0)
    assert result["calibration"]["level"] == pytest.approx(6 / 7)
    assert result["calibration"]["source"] == "audit of generations 1, 2"
    assert set(audited) <= set(newest.seen)
    # Nor does a label count that somebody has come to doubt; its frame is not even asked about.
    store = LabelStore("labels", config.labeller)
    store.doubts.write(audited[1], {"reason": "another campaign's committee"})
    again = WrongCommittee(error=0.02)
    assert assess(config, 2, plan, again)["calibration"]["n_frames"] == 6
    assert audited[1] not in again.seen
    store.releases.write(audited[1], {"reason": "right after all"})
    again = WrongCommittee(error=0.02)
    assess(config, 2, plan, again)
    assert audited[1] in again.seen


def test_enough_new_audit_frames_ask_nothing_of_older_ones():
    config = settings()
    plan, committee = two_generations(config)
    assess(config, 1, plan, committee)
    audited = {a.info["frame_id"] for a in read_frames(layout_of(config).predictions(1, "audit"))}
    newest = WrongCommittee(error=0.02)
    assess(config, 2, generation(config, 2, [copper(0)]), newest)
    assert not audited & set(newest.seen)


def test_a_factor_measured_with_another_committee_says_so():
    unmet = {"target_force_mae": 1}
    config = settings(train={"max_num_epochs": 100, "members": 4}, stop=unmet)
    plan, committee = two_generations(config)
    measured = assess(config, 1, plan, committee)["calibration"]
    changed = settings(train={"max_num_epochs": 50, "members": 3, "device": "cuda"}, stop=unmet)
    plan = generation(changed, 2, [copper(0)])
    layout = layout_of(changed)
    valid = layout.dataset(2) / "valid.extxyz"
    made = calibrate_committee(plan, valid, layout.committee(2), ["m"])["calibration"]
    assert made["measured_with"] == {"train.members": [4], "train.max_num_epochs": [100]}
    assert made["used_with"] == {"train.members": 3, "train.max_num_epochs": 50}
    assert made["source"] == (
        "audit of generation 1; measured with train.members 4, train.max_num_epochs 100, "
        "used with 3, 50"
    )
    assert made | measured == made | {"source": measured["source"]}
    result = assess(changed, 2, plan, committee)
    assert any(note.startswith("the calibration factor was measured with train.members 4")
               for note in result["notes"])  # fmt: skip
    assert "measured_with" not in result["calibration"]
    # The next generation has the settings with which it was measured.
    plan = generation(changed, 3, [copper(0)])
    made = calibrate_committee(plan, valid, layout.committee(3), ["m"])["calibration"]
    assert made == plan["calibration"]


def test_a_calibration_that_stays_says_once_who_measured_it():
    config = settings(train={"members": 4})
    plan, committee = two_generations(config)
    assess(config, 1, plan, committee)
    changed = settings(train={"members": 3})
    layout = layout_of(changed)
    for g in (2, 3):
        plan = generation(changed, g, [copper(0)], n_audit=0)
        valid = layout.dataset(g) / "valid.extxyz"
        # No audit of generation 2: what generation 1 measured goes on.
        made = calibrate_committee(plan, valid, layout.committee(g), ["m"])["calibration"]
        assert made["source"] == (
            "audit of generation 1; measured with train.members 4, used with 3"
        )
        if g == 2:
            result = assess(changed, g, plan, committee)
            assert "measured_with" not in result["calibration"]


def test_files_of_earlier_versions_are_calibrated():
    config = settings(train={"members": 4})
    plan, committee = two_generations(config)
    result = assess(config, 1, plan, committee)
    old = {"factor": 6.0, "coverage": 0.9, "level": 0.9, "n_frames": 9,
           "source": "audit of generation 1"}  # fmt: skip
    write_json(layout_of(config).assess(1), result | {"calibration": old})
    plan = generation(settings(train={"members": 2}), 2, [copper(0)])
    layout = layout_of(config)
    valid = layout.dataset(2) / "valid.extxyz"
    made = calibrate_committee(plan, valid, layout.committee(2), ["no/such/model"])["calibration"]
    assert made["factor"] == 6.0
    assert made["measured_with"] == {"train.members": [4]}
    content = read_json(layout.committee(2))
    write_json(layout.committee(2), content | {"calibration": old})
    result = assess(config, 2, plan, committee)
    assert result["measured_coverage"]["expected"] == 0.9


def test_committee_takes_the_plans_calibration_without_loading_a_model():
    config = settings()
    plan, committee = two_generations(config)
    assess(config, 1, plan, committee)
    plan = generation(config, 2, [copper(0)])
    layout = layout_of(config)
    made = calibrate_committee(
        plan, layout.dataset(2) / "valid.extxyz", layout.committee(2), ["no/such/model"]
    )
    assert made["calibration"] == plan["calibration"]


def test_nothing_to_calibrate_on_is_said():
    config = settings()
    plan, committee = two_generations(config)
    layout = layout_of(config)
    with pytest.raises(UserError, match="cannot be calibrated: no frame of the data") as caught:
        calibrate_committee(
            plan, layout.dataset(1) / "valid.extxyz", layout.committee(1), ["m"], committee
        )
    assert "label frames with forces" in caught.value.mend
