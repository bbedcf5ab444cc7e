"""Building a generation's data from plans, merged labels and the label store."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from mace_core.config.campaign import parse_config
from mace_core.dataset import build_dataset
from mace_core.errors import UserError
from mace_core.frames import canonical, dataset_hash, read_frames
from mace_core.label.store import LabelStore, Record
from mace_core.label.theory import theory_id
from mace_core.storage import read_json, sha256_file, write_json
from mace_core.tables import read_table, write_table


class Campaign:
    """Generations of EMT labels, as the steps before the dataset leave them."""

    def __init__(self, folder, **data):
        self.folder = folder
        structure = folder / "cu.xyz"
        ase.io.write(structure, bulk("Cu", cubic=True), format="extxyz")
        self.settings = {
            "campaign": {"name": "t", "seed": 3, "label_store": str(folder / "labels")},
            "labeller": {"engine": "emt"},
            "seed": {"structures": [str(structure)]},
            "data": {"valid_fraction": 0.2, **data},
        }
        self.config = parse_config(self.settings, "test")
        self.theory = theory_id(self.config.labeller)
        self.store = LabelStore(folder / "labels", self.config.labeller)
        self.merged, self.assessed, self.frames = [], [], []

    def generation(self, n: int, role: str = "picked", failed: int = 0, isolated=()) -> None:
        g = len(self.merged)
        entries = []
        for number in range(n + failed):
            atoms = bulk("Cu", cubic=True)
            atoms.rattle(0.1, seed=100 * g + number)
            entries.append(self.label(atoms, role, fails=number >= n, walker=number % 3))
        for symbol, energy in isolated:
            entries.append(self.label(Atoms(symbol), "isolated", energy=energy))
        path = self.folder / f"merged_{g}.json"
        write_json(path, {"generation": g, "theory": self.theory, "labels": entries})
        self.merged.append(path)
        self.assessed.append(self.folder / f"assess_{g}.json")
        write_json(self.assessed[-1], {"generation": g, "quarantine": []})

    def doubt(self, g: int, frame_id: str) -> None:
        entry = {"frame_id": frame_id, "role": "picked", "reason": "energy off"}
        write_json(self.assessed[g], {"generation": g, "quarantine": [entry]})

    def label(self, atoms, role, fails=False, energy=None, walker=None) -> dict:
        frame = canonical(atoms)
        frame.calc = EMT()
        outcome = {"status": "unconverged", "reason": "SCF did not converge"}
        if not fails:
            outcome = {
                "status": "converged",
                "reason": "",
                "energy": frame.get_potential_energy() if energy is None else energy,
                "forces": frame.get_forces().tolist(),
            }
            if frame.pbc.all():
                outcome["stress"] = frame.get_stress().tolist()
        self.store.put(Record.of_frame(frame, self.theory, **outcome))
        self.frames.append(frame)
        return {
            "frame_id": frame.info["frame_id"],
            "role": role,
            "status": outcome["status"],
            "reason": outcome["reason"],
            "group": "300K",
            "walker": walker,
            "why_picked": "",
            "wall_seconds": 1.5,
            "computed": True,
        }

    def plan(self, labelled=(), config=None, **changes) -> str:
        path = self.folder / "plan.json"
        plan = {
            "format": 1,
            "campaign": "t",
            "generation": len(self.merged),
            "config": {**(config or self.config.model_dump()), **changes},
            "theory": self.theory,
            "labelled": [{"path": str(f), "sha256": sha256_file(f)} for f in labelled],
        }
        write_json(path, plan)
        return path

    def build(self, name="out", merged=None, ledger=None, **plan):
        out = self.folder / name
        build_dataset(self.plan(**plan), merged or self.merged, out, self.assessed, ledger)
        return out

    def drawn_by(self, seed, fraction):
        """Sections of the configuration for :meth:`plan`."""
        config = self.config.model_dump()
        return {
            "config": config
            | {
                "campaign": config["campaign"] | {"seed": seed},
                "data": config["data"] | {"valid_fraction": fraction},
            }
        }


@pytest.fixture
def campaign(tmp_path):
    campaign = Campaign(tmp_path)
    campaign.generation(12, "seed", failed=1, isolated=[("Cu", -3.5)])
    campaign.generation(6, failed=2)
    return campaign


def test_every_converged_label_trains_or_is_held_out_and_nothing_else(campaign):
    out = campaign.build()
    train, valid = read_frames(out / "train.extxyz"), read_frames(out / "valid.extxyz")
    summary = read_json(out / "dataset.json")
    assert len(train) + len(valid) == 18
    assert (summary["n_train"], summary["n_valid"]) == (len(train), len(valid))
    assert 2 <= len(valid) <= 5
    assert summary["generation"] == 2
    assert summary["E0s"] == {"Cu": -3.5}
    assert summary["elements"] == ["Cu"]
    assert summary["sources"] == {"gen_00": 12, "gen_01": 6}
    assert summary["mean_neighbours"] == pytest.approx(42, abs=4)  # fcc to the third shell, 5 Å
    by_id = {frame.info["frame_id"]: frame for frame in campaign.frames}
    for frame in train + valid:
        label = by_id[frame.info["frame_id"]]
        assert frame.info["REF_energy"] == pytest.approx(label.get_potential_energy())
        assert frame.arrays["REF_forces"] == pytest.approx(label.get_forces(), abs=1e-7)
        assert frame.info["REF_stress"] == pytest.approx(label.get_stress(), abs=1e-7)
        assert frame.info["role"] in ("seed", "picked")
        assert frame.info["source"] == f"gen_{frame.info['generation']:02d}"
    isolated = [f.to_atoms() for f in campaign.store.records() if len(f.numbers) == 1]
    assert summary["sha256"] == dataset_hash(train + valid + isolated)


def test_the_ledger_has_every_label(campaign):
    ledger = read_table(campaign.build() / "ledger")
    assert list(ledger.columns) == [
        *("frame_id", "generation", "role", "status", "reason", "source", "stratum", "split"),
        *("energy_per_atom", "max_force", "wall_seconds", "drawn", "torn"),
    ]
    assert sorted(ledger.frame_id) == sorted(f.info["frame_id"] for f in campaign.frames)
    assert ledger.groupby("generation").status.value_counts().to_dict() == {
        (0, "converged"): 13,
        (0, "unconverged"): 1,
        (1, "converged"): 6,
        (1, "unconverged"): 2,
    }
    failed = ledger[ledger.status != "converged"]
    assert set(failed.split) == {"none"}
    assert set(failed.reason) == {"SCF did not converge"}
    assert failed.max_force.isna().all()
    trained = ledger[ledger.split != "none"]
    assert len(trained) == 18
    assert trained.max_force.gt(0).all() and trained.energy_per_atom.notna().all()
    assert ledger[ledger.role == "isolated"].split.tolist() == ["none"]
    assert ledger.wall_seconds.sum() == pytest.approx(1.5 * len(ledger))


def test_a_doubted_label_does_not_train_until_it_is_released(campaign):
    frame_id = read_json(campaign.merged[1])["labels"][2]["frame_id"]

    def trained(folder):
        names = ("train.extxyz", "valid.extxyz")
        return {a.info["frame_id"] for name in names for a in read_frames(folder / name)}

    before = trained(campaign.build("before"))
    campaign.doubt(1, frame_id)
    out = campaign.build("doubted")
    assert trained(out) == before - {frame_id}
    assert read_json(out / "dataset.json")["sources"] == {"gen_00": 12, "gen_01": 5}
    row = read_table(out / "ledger").set_index("frame_id").loc[frame_id]
    assert (row.status, row.split) == ("quarantined", "none")
    assert row.reason == "committee of generation 1: energy off"

    # It stays so in later generations; a note in the store alone is another campaign's opinion.
    campaign.generation(3)
    assert frame_id not in trained(campaign.build("later"))
    other = next(iter(before - {frame_id}))
    campaign.store.doubts.write(other, {"reason": "doubted elsewhere"})
    assert other in trained(campaign.build("other"))

    campaign.store.releases.write(frame_id, {"reason": "computed by hand"})
    out = campaign.build("released")
    assert frame_id in trained(out)
    assert read_table(out / "ledger").set_index("frame_id").loc[frame_id].status == "converged"


def test_doubt_is_cast_on_labels_that_converged_only(campaign):
    failed = read_json(campaign.merged[1])["labels"][-1]
    assert failed["status"] == "unconverged"
    campaign.doubt(1, failed["frame_id"])
    row = read_table(campaign.build() / "ledger").set_index("frame_id").loc[failed["frame_id"]]
    assert (row.status, row.reason) == ("unconverged", "SCF did not converge")


def test_the_files_do_not_depend_on_any_order(campaign):
    one = campaign.build("one")
    for path in campaign.merged:
        merged = read_json(path)
        merged["labels"].reverse()
        write_json(path, merged)
    other = campaign.build("other", merged=campaign.merged[::-1])
    for name in ("train.extxyz", "valid.extxyz", "dataset.json", "ledger.csv", "ledger.parquet"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_held_out_frames_stay_held_out_in_the_next_generation(campaign):
    def ids(folder):
        return {atoms.info["frame_id"] for atoms in read_frames(folder / "valid.extxyz")}

    before = ids(campaign.build("before"))
    campaign.generation(10)
    assert before < ids(campaign.build("after"))


def ids(folder):
    """Frame ids in train and in valid."""
    return [
        {atoms.info["frame_id"] for atoms in read_frames(folder / name)}
        for name in ("train.extxyz", "valid.extxyz")
    ]


def test_another_seed_or_fraction_is_for_new_frames_only(campaign):
    out = campaign.build("gen_2")
    for g, (seed, fraction) in enumerate(((4, 0.2), (5, 0.5), (6, 0.05)), 3):
        trained, held_out = ids(out)
        campaign.generation(8)
        changed = campaign.drawn_by(seed, fraction)
        # Drawn by the new seed alone, as it was: frames change sides.
        moved_train, moved_valid = ids(campaign.build(f"alone_{g}", **changed))
        assert moved_valid & trained or moved_train & held_out
        out = campaign.build(f"gen_{g}", ledger=out / "ledger.parquet", **changed)
        train, valid = ids(out)
        assert held_out <= valid and trained <= train
        assert len(train | valid) == len(trained | held_out) + 8
    assert valid > held_out or fraction == 0.05


def test_the_same_seed_gives_the_same_files_with_the_ledger_and_without(campaign):
    ledger = campaign.build("gen_2") / "ledger.parquet"
    campaign.generation(10, failed=1)
    one, other = campaign.build("with", ledger=ledger), campaign.build("without")
    for name in ("train.extxyz", "valid.extxyz", "dataset.json", "ledger.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_a_ledger_of_an_earlier_version_says_the_sides_too(campaign):
    out = campaign.build("gen_2")
    table = read_table(out / "ledger").drop(columns=["drawn", "torn"])
    write_table(table, campaign.folder / "old")
    campaign.generation(8)
    new = campaign.build("new", ledger=campaign.folder / "old.parquet", **campaign.drawn_by(9, 0.4))
    for before, after in zip(ids(out), ids(new), strict=True):
        assert before <= after
    same = campaign.build("same", ledger=campaign.folder / "old.parquet")
    assert ids(same) == ids(campaign.build("plain"))


def test_a_ledger_of_an_earlier_version_of_near_duplicates_only(tmp_path):
    campaign = Campaign(tmp_path, E0s="average")
    campaign.generation(0)
    merged = read_json(campaign.merged[0])
    for seed in range(8):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.002, seed=seed)
        merged["labels"].append(campaign.label(atoms, "seed"))
    write_json(campaign.merged[0], merged)
    out = campaign.build("gen_1")
    trained, held_out = ids(out)
    assert trained and held_out
    table = read_table(out / "ledger").drop(columns=["drawn", "torn"])
    write_table(table, campaign.folder / "old")
    campaign.generation(6)
    train, valid = ids(campaign.build("gen_2", ledger=campaign.folder / "old.parquet"))
    assert trained < train and held_out <= valid


def test_a_label_in_quarantine_keeps_its_side(campaign):
    out = campaign.build("gen_2")
    held_out = sorted(ids(out)[1])[0]
    g = next(
        g
        for g, path in enumerate(campaign.merged)
        if held_out in {label["frame_id"] for label in read_json(path)["labels"]}
    )
    campaign.doubt(g, held_out)
    campaign.generation(4)
    out = campaign.build("gen_3", ledger=out / "ledger.parquet")
    assert held_out not in set.union(*ids(out))
    campaign.store.releases.write(held_out, {"reason": "computed by hand"})
    campaign.generation(4)
    for seed in range(20, 26):
        again = campaign.build(
            "gen_4", ledger=out / "ledger.parquet", **campaign.drawn_by(seed, 0.05)
        )
        assert held_out in ids(again)[1]


def test_a_missing_ledger_is_a_message(campaign):
    with pytest.raises(UserError, match="no ledger of the generation before"):
        campaign.build(ledger=campaign.folder / "none.parquet")


@pytest.fixture
def own_file(tmp_path):
    frames = []
    for seed in range(6):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.12, seed=900 + seed)
        atoms.calc = EMT()
        atoms.info["E"] = atoms.get_potential_energy()
        if seed:
            atoms.arrays["F"] = atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    path = tmp_path / "mine.xyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_the_users_own_labels_join(tmp_path, own_file):
    campaign = Campaign(tmp_path, energy_key="E", forces_key="F", E0s={"Cu": 0.25})
    campaign.generation(5)
    out = campaign.build(labelled=[own_file])
    frames = read_frames(out / "train.extxyz") + read_frames(out / "valid.extxyz")
    mine = [atoms for atoms in frames if atoms.info["source"] == "mine.xyz"]
    assert len(mine) == 6 and len(frames) == 11
    assert sum("REF_forces" in atoms.arrays for atoms in mine) == 5
    assert {atoms.info["generation"] for atoms in mine} == {-1}
    assert all(atoms.info["role"] for atoms in mine)
    summary = read_json(out / "dataset.json")
    assert summary["E0s"] == {"Cu": 0.25}
    assert summary["sources"] == {"gen_00": 5, "mine.xyz": 6}
    assert len(read_table(out / "ledger")) == 11


def test_a_frame_that_comes_twice_trains_once(tmp_path, own_file):
    campaign = Campaign(tmp_path, energy_key="E", forces_key="F", E0s="average")
    campaign.generation(5)
    again = canonical(ase.io.read(own_file, "0"))
    merged = read_json(campaign.merged[0])
    merged["labels"].append(campaign.label(again, "picked"))
    write_json(campaign.merged[0], merged)
    out = campaign.build(labelled=[own_file, own_file])
    frames = read_frames(out / "train.extxyz") + read_frames(out / "valid.extxyz")
    ids = [atoms.info["frame_id"] for atoms in frames]
    assert len(ids) == len(set(ids)) == 11
    ledger = read_table(out / "ledger")
    assert len(ledger) == 6 + 12
    left_out = ledger[(ledger.split == "none")]
    assert len(left_out) == 7 and left_out.reason.str.len().gt(0).all()


def test_a_frame_of_both_streams_stays_on_one_side(tmp_path, own_file):
    """It comes by the campaign first, and in a file later, which another seed would split anew."""
    campaign = Campaign(tmp_path, energy_key="E", forces_key="F", E0s="average")
    campaign.generation(5)
    merged = read_json(campaign.merged[0])
    for index in range(6):
        again = canonical(ase.io.read(own_file, str(index)))
        merged["labels"].append(campaign.label(again, "picked"))
    write_json(campaign.merged[0], merged)
    out = campaign.build("gen_1")
    trained, held_out = ids(out)
    campaign.generation(3)
    for seed in range(8):
        train, valid = ids(
            campaign.build(
                f"gen_2_{seed}",
                ledger=out / "ledger.parquet",
                labelled=[own_file],
                **campaign.drawn_by(seed, 0.3),
            )
        )
        assert trained <= train and held_out <= valid and not train & valid


def test_a_labelled_file_that_changed_after_the_plan_is_refused(tmp_path, own_file):
    campaign = Campaign(tmp_path, energy_key="E", forces_key="F", E0s="average")
    campaign.generation(5)
    plan = campaign.plan(labelled=[own_file])
    own_file.write_text(own_file.read_text() + own_file.read_text())
    with pytest.raises(UserError, match=r"mine\.xyz changed since generation 1"):
        build_dataset(plan, campaign.merged, tmp_path / "out", campaign.assessed)


def test_labels_of_another_level_of_theory_never_train(campaign, capsys):
    merged = read_json(campaign.merged[1])
    write_json(campaign.merged[1], {**merged, "theory": "f" * 16, "labels": merged["labels"]})
    for entry in merged["labels"]:
        for path in (campaign.store.path, campaign.store.failed_path):
            path(entry["frame_id"]).unlink(missing_ok=True)
    out = campaign.build()
    assert read_json(out / "dataset.json")["sources"] == {"gen_00": 12}
    ledger = read_table(out / "ledger")
    assert set(ledger[ledger.generation == 1].reason) == {"labelled at another level of theory"}
    assert "generation 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c.store.path(c.frames[0].info["frame_id"]).unlink(), "not in the label store"),
        (lambda c: c.merged.append(c.merged[0]), "generations \\[0, 0, 1\\]"),
        (lambda c: c.settings["data"].update(E0s={"Al": 1.0}), "no E0 for Cu"),
        (lambda c: c.assessed.pop(), "assessments of generations \\[0\\] for merged labels"),
    ],
)
def test_what_is_wrong_is_said(campaign, spoil, says):
    spoil(campaign)
    campaign.config = parse_config(campaign.settings, "test")
    with pytest.raises(UserError, match=says):
        campaign.build()


def test_an_isolated_atom_that_failed_is_an_element_without_E0(tmp_path):
    campaign = Campaign(tmp_path)
    campaign.generation(5)
    with pytest.raises(UserError, match=r"no E0 for Cu[\s\S]*labeller\.spins"):
        campaign.build()


def test_too_few_labels(tmp_path):
    campaign = Campaign(tmp_path, E0s="average")
    campaign.generation(1, failed=4)
    with pytest.raises(UserError, match="1 converged labels"):
        campaign.build()
    assert not np.any([(tmp_path / "out" / n).exists() for n in ("train.extxyz", "dataset.json")])
