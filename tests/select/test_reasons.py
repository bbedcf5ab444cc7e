"""Why nothing was picked: the cause that is said is the one that there was."""

import pytest
from walkers_on_disk import Campaign

from mace_core.assess.stall import stalls
from mace_core.config.campaign import parse_config
from mace_core.select.reasons import no_candidates

# Of every campaign here: a frame is due every 10 steps, walks stop at 900 meV/Å, the window is
# 100–1500 meV/Å, and 4.0 and 6.0 Å are trained on.


def nothing(campaign, explore=None, **section):
    config = campaign.configured(**section)
    if explore:
        config = config.model_copy(update={"explore": config.explore.model_copy(update=explore)})
    content, _ = campaign.select(config)
    assert content["candidates"] == 0
    found = content["no_candidates"]
    assert f"NO CANDIDATES: {found['message']}; {found['mend']}" in content["message"]
    return found


def test_walks_that_stop_at_once_are_not_told_to_run_longer(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(0, 4.0, 0.0091)], "uncertain").walker([(0, 6.0, 0.037)], "uncertain")
    found = nothing(c, {"max_force_error": 1.0}, window=[0.5, 2000])
    assert found["cause"] == "uncertain_at_start"
    assert found["message"] == (
        "all 2 walks stopped at step 0: uncertainty 9.1–37 meV/Å above explore.max_force_error 1"
    )
    assert found["mend"] == (
        "raise explore.max_force_error above 37, or give more seed frames (seed.n_frames)"
    )


def test_the_walks_that_stopped_are_counted(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(0, 4.0, 1.2)], "uncertain").walker([(0, 6.0, 1.0)], "uncertain")
    c.walker([(10, 5.0, 0.01), (20, 5.1, 0.01)]).walker([(0, 4.0, 0.1)], "close_contact")
    found = nothing(c, audit_frames=1)
    assert found["cause"] == "uncertain_at_start"
    assert found["message"].startswith("2 of 4 walks stopped at step 0: uncertainty 1000–1200")


def test_fewer_than_half_are_not_the_cause(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(0, 4.0, 1.2)], "uncertain")
    c.walker([(10, 5.0, 0.01), (20, 5.1, 0.02)]).walker([(10, 5.2, 0.03), (20, 5.3, 0.04)])
    assert nothing(c, audit_frames=1)["cause"] == "below_window"


@pytest.mark.parametrize(
    ("end", "cause", "words"),
    [
        ("close_contact", "unstable_at_start", "unstable (close contact): ended at step 3"),
        ("evaporated", "evaporated_at_start", "parted by more than model.r_max 5 Å"),
    ],
)
def test_walks_that_go_wrong_at_once(tmp_path, end, cause, words):
    c = Campaign(tmp_path)
    c.walker([(2, 5.0, 0.01), (3, 5.1, 0.2)], end).walker([(3, 5.3, 0.2)], end)
    found = nothing(c, audit_frames=1)
    assert found["cause"] == cause and words in found["message"]
    assert "hotter" not in found["mend"]


def test_all_below_the_window(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10, 5.0, 0.01), (20, 5.5, 0.02), (30, 5.8, 0.03)])
    found = nothing(c, audit_frames=1)
    assert found["cause"] == "below_window"
    assert found["message"] == (
        "all 2 new frames beside the audit are below the window 100–1500 meV/Å "
        "(visited: 10–30 meV/Å)"
    )
    assert found["mend"] == "lower select.window [100, …], or explore hotter or longer"


def test_walks_that_may_not_go_into_the_window(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10, 5.0, 0.01), (13, 5.5, 0.06)], "uncertain")
    c.walker([(3, 5.2, 0.07)], "uncertain")  # before a frame was due: the window is the cause
    found = nothing(c, {"max_force_error": 50.0}, audit_frames=1)
    assert found["cause"] == "stopped_below_window"
    assert "all 2 walks stopped at explore.max_force_error 50" in found["message"]
    assert found["mend"].startswith("raise explore.max_force_error above 100")


def test_all_above_the_window(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(0, 4.0, 0.01), (10, 5.0, 2.0), (13, 5.5, 2.5)], "uncertain")
    c.walker([(4, 5.2, 1.9)], "uncertain")
    found = nothing(c, audit_frames=1)
    assert found["cause"] == "above_window"
    assert found["mend"].startswith("raise the upper end of select.window above")


def test_below_and_above(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10, 4.5, 0.01), (20, 5.0, 0.02), (23, 5.5, 2.5)], "uncertain")
    found = nothing(c, audit_frames=1)
    assert found["cause"] == "outside_window" and "1 of 2 new frames" in found["message"]


@pytest.mark.parametrize(("moved", "cause"), [(0.0006, "did_not_move"), (0.2, "near_duplicates")])
def test_near_duplicates_and_why(tmp_path, moved, cause):
    c = Campaign(tmp_path)
    c.walker([(10, 4.0006, 0.3), (20, 4.0004, 0.3), (30, 6.0005, 0.3)], displacement=moved)
    found = nothing(c, audit_frames=1)
    assert found["cause"] == cause
    assert ("0.0006 Å" in found["message"]) == ("timestep" in found["mend"]) == (moved < 0.01)


def test_walks_that_did_not_move_are_not_told_to_lower_the_window(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(10, 4.0006, 0.01), (20, 4.0004, 0.01)], displacement=0.0006)
    found = nothing(c, audit_frames=1)
    assert found["cause"] == "did_not_move" and found["mend"].startswith("raise explore.timestep")


def test_known_audited_or_nothing_at_all(tmp_path):
    for name in "abcd":
        (tmp_path / name).mkdir()
    c = Campaign(tmp_path / "a")
    c.walker([(10, 4.0, 0.3), (20, 6.0, 0.3)])
    assert nothing(c)["cause"] == "known"
    c = Campaign(tmp_path / "b")
    c.walker([(10, 5.0, 0.3)])
    assert nothing(c)["cause"] == "audited"
    c = Campaign(tmp_path / "c")
    c.walker([(25, 5.0, 0.3)], "energy_runaway")
    assert nothing(c)["cause"] == "no_frames"
    assert "energy runaway" in nothing(c)["message"]
    c = Campaign(tmp_path / "d")
    c.walker([(10, 5.0, 0.3)])
    assert nothing(c, strategy="random")["cause"] == "audited"


def test_a_selection_with_candidates_has_no_such_cause(tmp_path):
    c = Campaign(tmp_path, audit_frames=1)
    c.walker([(10, 5.0, 0.3), (20, 8.0, 0.3)])
    assert c.select()[0]["no_candidates"] is None


def test_records_of_earlier_versions_are_no_early_ends(tmp_path):
    config = Campaign(tmp_path).config
    found = no_candidates(config, [{"walker": 0, "end": "uncertain"}], [], [])
    assert found.cause == "no_frames"


def test_a_stall_gives_the_advice_of_its_cause(tmp_path):
    c = Campaign(tmp_path)
    c.walker([(0, 4.0, 1.2)], "uncertain")
    last = {"selection": {"candidates": 0, "no_candidates": nothing(c)}}
    check = stalls(0, 1, [last], c.config)[1]
    assert "the only walk stopped at step 0" in check.message
    assert "raise explore.max_force_error above 1200" in check.message
    assert "hotter" not in check.message and "surer" not in check.message


def test_a_committee_too_sure_of_itself_is_called_so_where_that_is_measured():
    config = parse_config(
        {"labeller": {"engine": "emt"}, "campaign": {"name": "t"}, "seed": {"structures": ["x"]}},
        where="test",
    )
    below = {"cause": "below_window", "message": "all below", "mend": "lower select.window"}

    def said(high, without=1):
        last = {
            "selection": {"candidates": 0, "no_candidates": below},
            "audit": {"force_mae_high": high},
        }
        return stalls(0, without, [last], config)[1].message

    assert "the error is up to 90 meV/Å: the committee is surer" in said(0.09)
    assert "surer" not in said(0.02)  # below the window as well: the committee is right
    assert said(None).endswith("all below; lower select.window")
    assert "waits for none" in said(0.02, without=0)


def test_a_stall_of_an_earlier_version_gives_no_advice_that_may_be_wrong(tmp_path):
    check = stalls(0, 2, [{"selection": {"candidates": 0}}], Campaign(tmp_path).config)[1]
    assert "see how its walks ended" in check.message and "hotter" not in check.message
