"""Before anything starts the doctor says how a campaign will be judged."""

import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write

from mace_core.config.campaign import parse_config
from mace_core.config.checks.findings import Findings
from mace_core.doctor import examine
from mace_core.doctor.strata import judged, strata_asked, strata_lines
from mace_core.errors import UserError
from mace_core.explore.deal import dealt_strata
from mace_core.frames import read_frames
from mace_core.seed.prepare import prepare_seed
from mace_core.strata import stratum_of


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alloy = bulk("Cu", cubic=True)
    alloy.symbols[:2] = "Au"
    write("CuAu.xyz", alloy, format="extxyz")
    write("HCN.xyz", molecule("HCN"), format="extxyz")
    write("H2O.xyz", molecule("H2O"), format="extxyz")
    (tmp_path / "tmp").mkdir()


def settings(**sections):
    values = {
        "campaign": {"name": "c"},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["CuAu.xyz"], "supercell": [2, 1, 1], "n_frames": 12},
        "explore": {"walkers": 4, "temperatures": [300], "steps": 100},
        "select": {"audit_frames": 8},
        "tracking": {"enabled": False},
    }
    for name, keys in sections.items():
        values[name] = values.get(name, {}) | keys
    return parse_config(values, where="test")


SUBSTITUTIONS = [
    {"element": "Cu", "by": "Au", "fraction": 0.1},
    {"element": "Au", "by": "Cu", "fraction": 0.1},
]


def test_names_are_those_that_generation_0_gives(tmp_path):
    config = settings(seed={"substitutions": SUBSTITUTIONS, "vacancies": 3})
    prepare_seed(config, [], tmp_path / "frames.extxyz")
    frames = [a for a in read_frames(tmp_path / "frames.extxyz") if a.info["role"] == "seed"]
    assert strata_asked(config) == sorted({stratum_of(a) for a in frames})
    assert "Au5Cu3 from CuAu.xyz (2×1×1)" in strata_asked(config)


def test_strata_of_labelled_frames_count_too():
    ammonia, water = molecule("NH3"), molecule("H2O")
    water.positions += 0.1
    named = molecule("CH4")
    named.info["config_type"] = "hot methane"
    write("mine.xyz", [ammonia, water, named, Atoms("H")], format="extxyz")
    config = settings(
        seed={"structures": ["H2O.xyz"], "supercell": [1, 1, 1]}, data={"labelled": ["mine.xyz"]}
    )
    found = strata_asked(config)
    # One of the campaign's own structures has the composition of the second.
    assert [name for name in found if name != "H"] == ["H2O.xyz", "H3N", "hot methane"]


def said(config, names):
    return " ".join(" ".join(strata_lines(config, names)).split())


def test_what_each_stratum_gets_and_what_the_exam_costs():
    config = settings(stop={"streak": 2, "exam_length": 5, "exam_frames": 4})
    words = said(config, ["a", "b", "c"])
    assert "3 strata, each to be measured by itself: a, b, c" in words
    assert "audit: 2.7 of 8 frames per generation and stratum, 5.3 in 2 generations" in words
    assert "final exam: 3 walks of 500 steps, 12 label calls (4 per stratum)" in words
    assert "take turns" not in words and "take turns" in said(config, list("abcde"))
    assert "final exam: none" in said(settings(stop={"exam_length": 0}), ["a"])
    assert "and 8 more" in said(config, [f"s{k}" for k in range(20)])


def test_targets_say_where_they_come_from():
    words = said(settings(stop={"target_force_mae": 40, "target_stress_mae": 2}), ["a"])
    assert "force MAE 40 meV/Å (stop.target_force_mae)" in words
    assert "energy MAE 10 meV/atom (a quarter" in words
    assert "stop.target_energy_mae is not set" in words
    assert "stress MAE 2 meV/Å³ where labels have a stress (stop.target_stress_mae)" in words


def findings(config, names):
    found = Findings()
    judged(config, names, found)
    return found


NAMES = [f"s{k}" for k in range(6)]


@pytest.mark.parametrize(
    ("walkers", "audit", "streak", "verdict"),
    [
        (6, 8, 1, "each"),
        (3, 8, 2, "each"),  # they take turns, and come round within the streak
        (2, 8, 2, "not"),
        (6, 3, 2, "each"),  # the audit takes turns
        (6, 2, 2, "not"),
        (3, 2, 2, "not"),
    ],
)
def test_whether_each_stratum_can_be_measured_within_the_streak(walkers, audit, streak, verdict):
    config = settings(
        explore={"walkers": walkers},
        select={"audit_frames": audit},
        stop={"streak": streak, "exam_length": 0},
    )
    found = findings(config, NAMES)
    assert found.problems == [] or verdict == "not"
    if verdict == "each":
        assert found.notes == []
        return
    ((problem),) = found.problems or found.notes
    assert "6 strata" in problem
    # What it says to set is enough.
    mended = {
        "explore": {"walkers": max(walkers, number(problem, "explore.walkers to "))},
        "select": {"audit_frames": max(audit, number(problem, "select.audit_frames to "))},
    }
    config = settings(**mended, stop={"streak": streak, "exam_length": 0})
    found = findings(config, NAMES)
    assert found.problems == [] and found.notes == [], problem


def number(text, before):
    return int(text.split(before)[1].split()[0]) if before in text else 0


def test_every_temperature_needs_two_audit_frames_in_a_generation():
    hot = {"walkers": 8, "temperatures": [300, 600]}
    (note,) = findings(settings(explore=hot, select={"audit_frames": 3}), ["a"]).notes
    assert "check walker_groups" in note and "select.audit_frames to 4 or more" in note
    assert findings(settings(explore=hot, select={"audit_frames": 4}), ["a"]).notes == []


def test_the_final_exam_measures_what_the_walks_leave_out():
    """Without it the same campaign is refused."""
    config = settings(explore={"walkers": 1}, stop={"streak": 2, "exam_length": 10})
    found = findings(config, NAMES)
    assert found.problems == [] and "the final exam alone measures the rest" in found.notes[0]
    config = settings(explore={"walkers": 1}, stop={"streak": 2, "exam_length": 0})
    assert "cannot converge" in findings(config, NAMES).problems[0]


@pytest.mark.parametrize("n_temperatures", [1, 2, 3])
@pytest.mark.parametrize("streak", [1, 2, 3])
def test_the_walkers_that_it_asks_for_visit_every_stratum(n_temperatures, streak):
    temperatures = [300.0 + 100 * k for k in range(n_temperatures)]
    names = [f"s{k}" for k in range(5)]
    config = settings(
        explore={"walkers": 1, "temperatures": temperatures},
        stop={"streak": streak, "exam_length": 0},
    )
    found = findings(config, names)
    (told,) = found.problems or [note for note in found.notes if "explore.walkers" in note]
    walkers = number(told, "explore.walkers to ")
    starts = {name: [0] for name in names}
    for first in range(1, 12):
        window = range(first, first + streak)
        walked = {
            name for g in window for name in dealt_strata(starts, walkers, n_temperatures, (), g)
        }
        assert walked == set(names)


def test_the_doctor_says_it_before_anything_starts():
    config = settings(seed={"substitutions": SUBSTITUTIONS})
    lines = list(examine(config, label=False, forecast=False))
    assert any("3 strata" in line and "Au5Cu3 from CuAu.xyz (2×1×1)" in line for line in lines)
    config = settings(
        seed={"substitutions": SUBSTITUTIONS},
        explore={"walkers": 1},
        stop={"streak": 1, "exam_length": 0},
    )
    with pytest.raises(UserError, match="cannot converge"):
        list(examine(config, label=False, forecast=False))
