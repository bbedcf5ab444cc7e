"""The verdict in words: the reason, the log and the summary's text."""

import json

import pytest
from fake_campaign import write_fake_campaign

from mace_core.assess.decide import decide
from mace_core.assess.said import lines
from mace_core.assess.strata_shown import exam_rows, stratum_rows
from mace_core.config import load_config
from mace_core.config.campaign import parse_config
from mace_core.layout import Layout
from mace_core.storage import read_json, write_json
from mace_core.summary import summarise
from mace_core.summary_text import text

LIMITS = {"force": 0.04, "energy": 0.01, "stress": 0.004}
LONG = "Au5Cu3 from a_folder/with_a_long_name/of_a_structure_that_somebody_relaxed.xyz (3×2×1)"


def settings(**stop):
    values = {
        "campaign": {"name": "c", "max_generations": 8},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["x.xyz"]},
        "stop": {"target_force_mae": 40, "streak": 1, "min_audit_frames": 8} | stop,
    }
    return parse_config(values, where="test")


def generation(g, strata, scale=1.0, exam=True):
    """An assessment with eight audit frames of each stratum, of two walks, and an exam."""
    rows, walks = [], []
    for s, (name, mae) in enumerate(strata.items()):
        for k in range(12 if exam else 8):
            size = scale * mae * (0.9 + 0.05 * (k % 5))
            examined = k >= 8
            rows.append(
                {"frame_id": f"{g}-{s}-{k}", "generation": g, "stratum": name, "group": "300K"}
                | {"walker": 10 + s if examined else 2 * s + k % 2, "exam": examined}
                | {"segment": k if examined else 0, "displacement": 0.2, "force_mae": size}
                | {"spread": size, "by_element": {"Cu": {"n": 4, "force_mae": size}}}
                | {"energy_error": 0.1 * size, "stress_mae": 0.01 * size}
            )
        for w in (2 * s, 2 * s + 1, *([10 + s] if exam else [])):
            walks.append(
                {"generation": g, "walker": w, "stratum": name, "group": "300K", "exam": w >= 10}
                | {"end": "completed", "steps_done": 100, "steps_asked": 100, "n_frames": 20}
                | {"spread": {"all": scale * mae, "Cu": scale * mae}}
            )
    n, mean = len(rows), scale * sum(strata.values()) / len(strata)
    part = {"force_mae": mean, "force_mae_high": 1.2 * mean, "n": n}
    return {
        "generation": g,
        "labels": {"calls": n, "converged": n, "found": 0, "quarantined": 0, "total_found": 0}
        | {"total_calls": g * n, "total_converged": g * n, "seconds": 1.0, "total_seconds": g},
        "quarantine": [],
        "dataset": {"elements": ["Cu"], "n_train": 9, "strata": {name: {} for name in strata}},
        "audit": part | {"n_frames": n, "by_element": {"Cu": part}, "by_group": {"300K": part}},
        "audit_frames": rows,
        "walks": walks,
        "picked": None,
        "frozen": None,
        "measured_coverage": None,
        "calibration": None,
        "walkers": {"stable_fraction": 1.0, "groups": ["300K"], "ends": {"completed": 6}, "n": 6}
        | {"steps_asked": 100, "steps_done": 100, "time_fs": 6000.0},
        "selection": {"candidates": 5, "audit": n, "exam": 0},
        "lost_audit": {},
        "notes": [],
    }


START = {"generation": 0, "labels": {"total_calls": 5}, "start": {"frames": 9}}


def test_the_reason_of_a_converged_campaign_is_short_and_names_the_worst_stratum():
    decision = decide([START, generation(1, {"A": 0.004, LONG: 0.009, "C": 0.003})], settings())
    assert decision.outcome == "converged", decision.reason
    assert decision.reason == decision.cause
    assert decision.reason.startswith("converged: every check passed; audited force MAE")
    assert f"worst stratum {LONG}: force MAE 9" in decision.reason
    assert "all together with 95%" in decision.reason
    assert len(decision.reason) < 320


def test_where_checks_fail_those_only_and_the_worst_strata_of_many():
    strata = {f"s{k:02d}": 0.004 * (k + 1) for k in range(15)}
    decision = decide([START, generation(1, strata)], settings())
    check = next(c for c in decision.checks if c.name == "strata_force")
    assert check.message.startswith("force MAE not below 40 meV/Å in")
    assert "of 15 strata: s14 " in check.message and " more; " in check.message
    assert "s00" not in check.message and len(check.message) < 250
    assert check.message in decision.reason
    passed = [c for c in decision.checks if c.passed and c.kind == "convergence"]
    assert passed and not any(c.message in decision.reason for c in passed)
    assert check.message not in decision.cause


def test_missing_strata_are_named_up_to_a_number():
    record = generation(1, {"A": 0.004})
    record["dataset"]["strata"] |= {f"m{k:02d}": {} for k in range(20)}
    decision = decide([START, record], settings())
    (check,) = [c for c in decision.checks if c.name == "strata_measured"]
    assert "m00, m01" in check.message and "and 12 more" in check.message


def test_strata_rows_failing_ones_first():
    record = {
        "generation": 3,
        "dataset": {"strata": {"A": {}, "B": {}, "C": {}, "D": {}, "E": {}}},
        "strata": {
            name: {"n_frames": 4, "n_walks": 2, "generations": generations}
            | {"force_mae": mae, "force_mae_high": high, "energy_mae": 0.001}
            | {"energy_mae_high": 0.002, "stress_mae": None, "stress_mae_high": None}
            for name, generations, mae, high in (
                ("A", [2, 3], 0.02, 0.03),
                ("B", [2, 3], 0.02, 0.05),
                ("C", [1], 0.001, 0.002),
                ("E", [3], 0.02, 0.035),
            )
        },
    }
    rows = {row["stratum"]: row for row in stratum_rows(record, LIMITS, 2)}
    assert list(rows) == ["C", "D", "B", "E", "A"]
    assert rows["C"]["fails"] == ["measured"], "audited before the streak's window"
    assert rows["D"]["n_frames"] == 0 and rows["D"]["force_mae"] is None
    assert rows["B"]["fails"] == ["force"] and rows["A"]["fails"] == []
    record["strata"]["A"]["energy_mae_high"] = None
    assert stratum_rows(record, LIMITS, 2)[3]["fails"] == ["energy"]
    del record["strata"]
    assert stratum_rows(record, LIMITS, 2) == [], "of an earlier version"


def test_the_log_has_a_line_per_stratum():
    record = generation(1, {"A": 0.004, "B": 0.009})
    record |= {"outcome": "continue", "reason": "so", "strata": {}}
    record["strata"]["B"] = {"n_frames": 8, "generations": [1], "n_walks": 2} | {
        "force_mae": 0.009, "force_mae_high": 0.012, "energy_mae": 0.0009,
        "energy_mae_high": None, "stress_mae": None, "stress_mae_high": None,
    }  # fmt: skip
    said = lines(record, 0.95)
    assert "gen 1 · stratum A · no audit frame" in said
    (of_b,) = [line for line in said if "stratum B" in line]
    assert of_b.endswith(
        "force 9 [≤ 12] meV/Å, energy 0.9 [no bound] meV/atom · 8 audit frames, gen 1"
    )
    assert any("hold all together with 95%" in line for line in said)
    assert any("of the MD, at most 7.8 with 95%" in line for line in said)


def test_exam_rows_have_the_mean_of_their_frames():
    rows = exam_rows(generation(1, {"B": 0.004, "A": 0.009}))
    assert [row["stratum"] for row in rows] == ["A", "B"]
    assert rows[0]["n_frames"] == 4 and rows[0]["force_mae"] == pytest.approx(0.009, rel=0.1)


@pytest.fixture
def campaign(tmp_path):
    path = write_fake_campaign(tmp_path, generations=2)
    config = load_config(path)
    return config, Layout(config.campaign.results_dir, config.campaign.name)


def assessed(layout, strata, **changes):
    for g in (1, 2):
        record = read_json(layout.assess(g)) | generation(g, strata, 2.0 / g)
        write_json(layout.assess(g), record | changes)


def marks(said, heading):
    """First characters and words of the lines below a heading, up to an empty line."""
    block = said.split(f"\n  {heading}\n")[1].split("\n\n")[0].splitlines()
    return [line.strip() for line in block]


def test_the_summary_lists_checks_and_strata(campaign):
    config, layout = campaign
    assessed(layout, {"A": 0.004, LONG: 0.005})
    said = text(summarise(layout, config))
    checks = marks(said, "checks")
    assert all(line.startswith("✓") for line in checks), said
    assert any(line.split("  ")[0] == "✓ Every stratum is measured" for line in checks)
    assert any("meV/Å   below 40" in line for line in checks)
    strata = marks(said, "strata")
    assert strata[0].split("  ")[0] == "stratum" and f"✓ {LONG}" in strata
    assert "targets: force 40 meV/Å, energy 10 meV/atom, stress 4 meV/Å³" in said
    assert "all together with 95%" in " ".join(said.split())
    assert "upper bounds, each holds with 95%" in said
    assert "what would help" not in said
    assert max(map(len, said.split("  models")[0].splitlines())) <= 105


def test_the_summary_marks_what_fails_and_says_what_would_help(campaign):
    config, layout = campaign
    assessed(layout, {"A": 0.004, "B": 0.09})
    summary = summarise(layout, config)
    said = text(summary)
    assert summary["outcome"] == "continue" and "what would help" not in said
    strata = marks(said, "strata")
    assert strata[1].startswith("✗ B ") and "]!" in strata[1]
    assert strata[2].startswith("✓ A ") and "!" not in strata[2]
    failed = [line for line in marks(said, "checks") if line.startswith("✗")]
    assert failed and any("Force error of each stratum" in line for line in failed)
    spent = config.model_copy(
        update={"campaign": config.campaign.model_copy(update={"max_generations": 2})}
    )
    said = text(summarise(layout, spent))
    assert "BUDGET SPENT" in said and "generation 2 of 2" in said
    helps = " ".join(said.split("what would help")[1].split("\n\n")[0].split())
    assert "Force error of each stratum below the target" in helps
    assert "Generations left: raise campaign.max_generations" in helps


def test_of_many_strata_the_failing_ones_are_shown_first_and_the_rest_counted(campaign):
    config, layout = campaign
    assessed(layout, {f"s{k:02d}": 0.09 if k == 29 else 0.002 for k in range(30)})
    said = text(summarise(layout, config))
    strata = marks(said, "strata")
    assert strata[1].startswith("✗ s29")
    assert "… and 10 more (0 of them fail): see the report" in strata


def test_summary_json_is_json_and_of_earlier_versions_has_no_strata(campaign):
    config, layout = campaign
    summary = summarise(layout, config)
    assert summary["strata"] == [] and "strata\n" not in text(summary)
    assert json.loads(json.dumps(summary)) == summary
    old = {k: v for k, v in summary.items() if k not in ("cause", "checks", "strata", "confidence")}
    assert summary["reason"].split()[0] in text(old)
