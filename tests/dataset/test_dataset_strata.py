"""Strata in the training set: none is lost, none is forgotten, each has something to learn from."""

import ase.io
import pytest
from ase import Atoms
from ase.build import bulk
from test_dataset import Campaign

from mace_core.frames import canonical, read_frames
from mace_core.storage import read_json, write_json
from mace_core.tables import read_table


def rattled(symbol, seed, std=0.1, **info):
    atoms = bulk(symbol, cubic=True)
    atoms.rattle(std, seed=seed)
    atoms.info |= info
    return atoms


def add(campaign, strata, role="seed", failed=(), old=()):
    """A generation of labels from {stratum: frames}; those of ``old`` do not say their stratum."""
    g, entries = len(campaign.merged), []
    for stratum, frames in strata.items():
        for atoms in frames:
            entry = campaign.label(atoms, role, fails=stratum in failed)
            entries.append(entry | ({} if stratum in old else {"stratum": stratum}))
    for symbol in ("Ag", "Cu"):
        if g == 0:
            entries.append(campaign.label(Atoms(symbol), "isolated", energy=-1.0))
            entries[-1]["stratum"] = None
    campaign.merged.append(campaign.folder / f"merged_{g}.json")
    write_json(campaign.merged[-1], {"generation": g, "theory": campaign.theory, "labels": entries})
    campaign.assessed.append(campaign.folder / f"assess_{g}.json")
    write_json(campaign.assessed[-1], {"generation": g, "quarantine": []})


def both(out):
    return read_frames(out / "train.extxyz") + read_frames(out / "valid.extxyz")


def strata_of(out):
    return read_json(out / "dataset.json")["strata"]


@pytest.fixture
def campaign(tmp_path):
    campaign = Campaign(tmp_path)
    add(
        campaign,
        {
            "fcc.cif": [rattled("Cu", k) for k in range(8)],
            "bcc.cif": [rattled("Cu", 100 + k) for k in range(4)],
            "Ag4 from x": [rattled("Ag", k) for k in range(3)],
        },
        failed=["Ag4 from x"],
    )
    return campaign


def test_frames_ledger_and_summary_name_strata_and_those_whose_labels_failed(campaign):
    out = campaign.build()
    strata = strata_of(out)
    assert list(strata) == ["Ag4 from x", "bcc.cif", "fcc.cif"]
    assert strata["Ag4 from x"] == {"labels": 3, "n_train": 0, "n_valid": 0}
    for name, n in (("bcc.cif", 4), ("fcc.cif", 8)):
        assert strata[name]["labels"] == strata[name]["n_train"] + strata[name]["n_valid"] == n
    origin = {e["frame_id"]: e["stratum"] for e in read_json(campaign.merged[0])["labels"]}
    assert len(both(out)) == 12
    for atoms in both(out):
        assert atoms.info["stratum"] == origin[atoms.info["frame_id"]]
    ledger = read_table(out / "ledger").set_index("frame_id")
    assert {i: s if isinstance(s, str) else None for i, s in ledger.stratum.items()} == origin


def test_entries_of_earlier_versions_have_their_stratum_by_composition(tmp_path):
    campaign = Campaign(tmp_path)
    strata = {"copper": [rattled("Cu", k) for k in range(5)], "silver": [rattled("Ag", 3)]}
    add(campaign, strata, failed=["silver"], old=["copper", "silver"])
    add(campaign, {"Cu": [rattled("Cu", 50)]}, "picked")
    out = campaign.build()
    assert {name: row["labels"] for name, row in strata_of(out).items()} == {"Ag": 1, "Cu": 6}
    assert {atoms.info["stratum"] for atoms in both(out)} == {"Cu"}


def users(tmp_path, frames):
    from ase.calculators.emt import EMT

    for atoms in frames:
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
    ase.io.write(tmp_path / "mine.xyz", frames, format="extxyz")
    return tmp_path / "mine.xyz"


def test_frames_of_the_users_files_join_the_stratum_that_is_certain(tmp_path):
    campaign = Campaign(tmp_path)
    add(
        campaign,
        {
            "fcc.cif": [rattled("Cu", k) for k in range(4)],
            "bcc.cif": [rattled("Cu", 100 + k) for k in range(4)],
            "silver.cif": [rattled("Ag", k) for k in range(4)],
        },
    )
    # In generation 1 only one of two kinds that the file tells apart was labelled.
    add(campaign, {"hot": [rattled("Au", 5)]}, "picked")
    frames = [
        rattled("Cu", 200, stratum="said"),  # it says so
        rattled("Cu", 201),  # two strata have its composition
        rattled("Ag", 202),  # one has
        rattled("Ag", 203, config_type="mine"),
        rattled("Ag", 204, charge=1),
        rattled("Au", 205, config_type="hot"),
        rattled("Au", 206, config_type="cold"),
    ]
    campaign.settings["data"]["E0s"] = "average"
    campaign.config = type(campaign.config).model_validate(campaign.settings)
    out = campaign.build(labelled=[users(tmp_path, frames)])
    found = {
        canonical(atoms).info["frame_id"]: atoms.info["stratum"]
        for atoms in both(out)
        if atoms.info["source"] == "mine.xyz"
    }
    expected = ["said", "Cu", "silver.cif", "silver.cif", "Ag charge 1", "hot", "cold"]
    assert [found[canonical(atoms).info["frame_id"]] for atoms in frames] == expected
    assert strata_of(out)["cold"]["labels"] == 0  # nobody was asked for it
    assert strata_of(out)["hot"]["labels"] == 1


@pytest.mark.parametrize("seed", range(12))
def test_each_stratum_with_two_frames_has_one_in_training(tmp_path, seed):
    campaign = Campaign(tmp_path, valid_fraction=0.45)
    campaign.settings["campaign"]["seed"] = seed
    campaign.config = type(campaign.config).model_validate(campaign.settings)
    strata = {f"s{n}": [rattled("Cu", 10 * n + k) for k in range(2)] for n in range(6)}
    add(campaign, strata)
    counts = strata_of(campaign.build())
    assert all(row["n_train"] >= 1 for row in counts.values())
    assert sum(row["n_valid"] for row in counts.values()) >= 2
