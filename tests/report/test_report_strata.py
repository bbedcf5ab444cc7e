"""What the report, its tables and its advice say of strata, the exam and the verdict."""

import json
import re

import pandas as pd
import pytest
from fake_campaign import add_strata, write_fake_campaign
from test_report import Page, _numbers

from mace_core.assess.advice import ADVICE, in_unit, limit, mend
from mace_core.assess.check import Check
from mace_core.campaign_tables import strata_table
from mace_core.chronicle import Chronicle
from mace_core.config import load_config
from mace_core.layout import Layout
from mace_core.report import plots, strata, write_report
from mace_core.report.advice import explained
from mace_core.storage import read_json, write_json

#: eV/Å; the bounds are 1.5 times these, the target is 40 meV/Å: the second is not below it.
STRATA = {"HCN.xyz": 0.011, "HNC <b>.xyz": 0.033, "a/H2O.xyz (2×1×1)": 0.0051}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strata")
    path = write_fake_campaign(folder, generations=2, outcome="budget_spent", strata=STRATA)
    config = load_config(path)
    return config, Layout(config.campaign.results_dir, config.campaign.name)


@pytest.fixture(scope="module")
def report(campaign) -> Page:
    config, layout = campaign
    return Page(write_report(config, None, layout.report(2)))


def section(page: Page) -> str:
    return page.raw.split('<section id="strata">')[1].split("</section>")[0]


def rows_of(page: Page, heading: str) -> list[list[str]]:
    """Cells of the first table after a heading, as text."""
    table = section(page).split(heading)[1].split("<tbody>")[1].split("</tbody>")[0]
    return [
        [
            " ".join(re.sub(r"<[^>]*>", " ", cell).split())
            for cell in re.findall(r"<td.*?</td>", row, re.S)
        ]
        for row in re.findall(r"<tr.*?</tr>", table, re.S)
    ]


def test_strata_stand_in_a_table_failing_ones_first(report):
    rows = rows_of(report, "<h2>Strata</h2>")
    assert [row[1] for row in rows] == ["HNC &lt;b&gt;.xyz", "HCN.xyz", "a/H2O.xyz (2×1×1)"]
    assert rows[0] == [
        "✕ failed", "HNC &lt;b&gt;.xyz", "10", "2", "2",
        "33.0 ≤ 49.5", "3.30 ≤ 4.95", "0.330 ≤ 0.495",
    ]  # fmt: skip
    assert rows[1][0] == "✓ passed"
    said = section(report)
    for words in ("target 40", "target 10<", "target 4<", "hold all together with 95%"):
        assert words in said, words
    assert "each hold with 95%" in report.text
    assert "Worst stratum, force MAE 33.0 meV/Å at most 49.5: HNC" in report.text


def test_audit_frames_by_temperature_and_what_was_lost(report):
    rows = rows_of(report, "by stratum and temperature")
    assert rows[0] == ["HCN.xyz", "4", "4 + 6 of the exam", "14"]
    assert "Audit labels that do not count: 2 timeout" in report.text


def test_the_exam_is_told_walk_by_walk(campaign, report, tmp_path):
    rows = rows_of(report, "<h3>The final exam</h3>")
    assert rows[0] == [
        "✓ passed", "HCN.xyz", "500K", "completed", "10 000 of 10 000", "6", "11.0",
    ]  # fmt: skip
    assert "force MAE below 80.0 meV/Å" in report.text
    config, layout = campaign
    before = read_json(layout.assess(2))
    after = json.loads(json.dumps(before))
    after["walks"][0] |= {"end": "uncertain", "steps_done": 77}
    after["walks"] = after["walks"][:2]
    write_json(layout.assess(2), after)
    try:
        found = Page(write_report(config, None, tmp_path / "failed.html"))
    finally:
        write_json(layout.assess(2), before)
    rows = rows_of(found, "<h3>The final exam</h3>")
    assert [row[0] for row in rows] == ["✕ failed", "✓ passed", "✕"]
    assert rows[2][1:] == ["a/H2O.xyz (2×1×1)", "no walk in the exam"]


def test_a_stratum_without_audit_frames_is_named_in_red(campaign, tmp_path):
    config, layout = campaign
    before = read_json(layout.assess(2))
    after = json.loads(json.dumps(before))
    del after["strata"]["HCN.xyz"]
    after["audit_frames"] = [r for r in after["audit_frames"] if r["stratum"] != "HCN.xyz"]
    old = after["strata"]["a/H2O.xyz (2×1×1)"]
    write_json(layout.assess(2), after)
    try:
        found = Page(write_report(config, None, tmp_path / "missing.html"))
        # Audited before the streak's window: an error is known, and it does not count.
        old["generations"] = [0]
        write_json(layout.assess(2), after)
        late = Page(write_report(config, None, tmp_path / "late.html"))
    finally:
        write_json(layout.assess(2), before)
    assert '<p class="missing">Not measured in the last 2 generations: HCN.xyz.' in found.raw
    assert rows_of(found, "<h2>Strata</h2>")[0][1] == "HCN.xyz not measured"
    assert "Not measured in the last 2 generations: HCN.xyz, a/H2O.xyz (2×1×1)." in late.text
    assert "not measured since generation 0" in late.text


def test_the_plot_has_every_stratum_with_its_bound(report, campaign):
    figure = json.loads(report.data["plot-strata"])
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert set(traces) == set(STRATA)
    worst = traces["HNC <b>.xyz"]
    assert list(_numbers(worst["y"])) == pytest.approx([66, 33])
    assert list(_numbers(worst["error_y"]["array"])) == pytest.approx([33, 16.5])
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert any(a.get("text") == "target 40 meV/Å" for a in figure["layout"]["annotations"])


def test_of_many_strata_the_worst_are_drawn(campaign):
    config, layout = campaign
    before = read_json(layout.assess(2))
    try:
        add_strata(layout, 2, {f"s{k:02d}": 0.001 * (k + 1) for k in range(30)})
        figure = plots.strata_plot(Chronicle(config).generations, 0.04)
    finally:
        write_json(layout.assess(2), before)
    names = [trace.name for trace in figure.data]
    assert len(names) == plots.MAX_STRATA and "s29" in names and "s00" not in names


def test_tables_hold_strata(campaign, tmp_path):
    config, layout = campaign
    write_report(config, None, tmp_path / "report.html")
    table = pd.read_parquet(layout.root / "tables" / "strata.parquet")
    assert len(table) == 6 and table.equals(strata_table(Chronicle(config).generations))
    last = table[table.generation == 2].set_index("stratum")
    assert last.force_mae["HCN.xyz"] == 0.011
    assert last.exam_force_mae["HCN.xyz"] == pytest.approx(0.011)
    assert last.fails["HNC <b>.xyz"] == "force"
    assert table[table.generation == 1].exam_force_mae.isna().all()
    curve = pd.read_csv(layout.root / "tables" / "learning_curve.csv")
    assert curve.worst_stratum[2] == "HNC <b>.xyz"
    assert curve.worst_stratum_force_mae_high[2] == pytest.approx(0.0495)
    assert curve.lost_audit.isna().tolist() == [True, False, False], "absent is not zero"


def test_assessments_of_earlier_versions_have_no_section(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=1))
    found = Page(write_report(config, None, tmp_path / "old.html"))
    assert 'id="strata"' not in found.raw and "#strata" not in found.addresses
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    assert pd.read_csv(layout.root / "tables" / "strata.csv").empty


def test_the_footnote_says_measured_coverage(campaign, tmp_path, monkeypatch):
    config, _ = campaign
    monkeypatch.setattr(strata, "MEASURED", {8: (0.957, 2.1)})
    found = Page(write_report(config, None, tmp_path / "measured.html"))
    assert "95.7 % and 2.10 with 8 audit frames." in found.text
    assert "python benchmarks/audit_coverage.py" in found.text


def check(
    name, passed=False, value=0.05, limit=0.04, message="", waiting=False, kind="convergence"
):
    return Check(name, kind, passed, value, limit, message, waiting).to_json()


def test_advice_is_by_the_cause():
    assert "audit frames narrow it" in mend(check("strata_force", waiting=True))
    assert "train longer" in mend(check("strata_force"))
    assert "E0s" in mend(check("strata_energy")) and "strain" in mend(check("strata_stress"))
    # No bound for want of frames, and a bound that is too high, are two things.
    assert "select.audit_frames" in mend(check("walker_groups", value=0.01))
    assert "select.audit_frames" not in mend(check("walker_groups", value=0.05))
    assert "two frames or more" in mend(check("elements", value=None))
    assert "by itself" in mend(
        check("exam", value=None, message="not held in this generation: it comes")
    )
    assert "trained on" in mend(check("exam", value=None, message="HCN: its walk ended at step 7"))
    assert mend(check("exam", passed=True)) == ""


@pytest.mark.parametrize("name", ADVICE)
def test_every_check_is_said_with_unit_and_relation(name):
    found = ADVICE[name]
    value = [] if name == "isolated_atoms" else 0.0123
    assert in_unit(None, found.unit) == "–" and in_unit(value, found.unit)
    if name != "isolated_atoms":
        assert limit(check(name)).startswith(("below", "at most", "at least"))
    assert in_unit(0.0123, "meV/Å³") == "12.3 meV/Å³" and in_unit(0.1234, "Å") == "0.123 Å"


def test_a_converged_campaign_asks_for_no_more_labels():
    spent = check("max_labels", value=83, limit=120, kind="limit")
    for outcome, unasked in (("converged", True), ("budget_spent", False)):
        ((_, (row,)),) = explained([spent], outcome)
        assert row["unasked"] == unasked and bool(row["mend"]) != unasked
