"""The audit frames are a plain random draw from where the MD went, and nothing else."""

import numpy as np
import pytest
from scipy.stats import chi2
from walkers_on_disk import Campaign, of_role, pair

from mace_core.select.audit import draw_audit
from mace_core.select.candidates import Visited


def visited(n, regular=True, sane=True, known=False, uncertainty=0.1):
    frames = [pair(3 + 0.01 * k + 5 * regular + 10 * sane) for k in range(n)]
    return [Visited(f, 0, "300K", 10, uncertainty, regular, sane, known) for f in frames]


def test_every_regular_frame_is_drawn_equally_often():
    regular = visited(30)
    # Uncertain or not, early or late, picked over or not: it must not matter.
    for k, v in enumerate(regular):
        v.uncertainty = 0.01 * k**2
    others = visited(5, regular=False) + visited(5, sane=False)
    frames = others + regular
    n, draws = 4, 4000
    counts = dict.fromkeys(map(id, regular), 0)
    for seed in range(draws):
        audit = draw_audit(frames, n, np.random.default_rng(seed))
        assert len({id(v) for v in audit.frames}) == n
        for v in audit.frames:
            counts[id(v)] += 1  # KeyError: drawn from what must not be drawn from
    share = n / len(regular)
    variance = draws * share * (1 - share)
    # Draws without replacement: this sum has a χ² distribution with len − 1 degrees of freedom.
    statistic = sum((c - draws * share) ** 2 for c in counts.values()) / variance
    statistic *= (len(regular) - 1) / len(regular)
    assert chi2.sf(statistic, len(regular) - 1) > 1e-3


def test_fewer_than_asked_are_taken_and_said():
    audit = draw_audit(visited(3), 8, np.random.default_rng(0))
    assert len(audit.frames) == 3 and audit.source == "regular"
    assert "3 audit frames instead of 8" in audit.message


def test_regular_frames_are_never_topped_up_with_ends():
    frames = visited(2) + visited(6, regular=False)
    audit = draw_audit(frames, 4, np.random.default_rng(0))
    assert len(audit.frames) == 2 and all(v.regular for v in audit.frames)


def test_when_every_walk_was_too_short_the_draw_says_that_it_is_biased():
    frames = visited(6, regular=False) + visited(3, sane=False)
    audit = draw_audit(frames, 4, np.random.default_rng(0))
    assert len(audit.frames) == 4 and all(v.sane for v in audit.frames)
    assert audit.source == "ends" and "biased" in audit.message


def test_nothing_to_draw_from():
    audit = draw_audit(visited(3, sane=False), 4, np.random.default_rng(0))
    assert (audit.frames, audit.pool, audit.source) == ([], 0, "none")


@pytest.fixture
def campaign(tmp_path):
    c = Campaign(tmp_path, max_frames=3, audit_frames=3)
    rng = np.random.default_rng(0)
    c.walker([(10 * k, 4.5 + 0.1 * k + rng.uniform(0, 0.02), 0.3) for k in range(1, 8)])
    c.walker([(10, 7.0, 0.3), (20, 7.2, 0.3), (24, 7.3, 0.9), (25, 7.4, 1.2)], "uncertain")
    c.walker([(10, 8.0, 0.3), (13, 8.1, 0.3), (14, 8.2, 0.3)], "close_contact")
    return c


def test_the_audit_does_not_depend_on_the_strategy(campaign):
    audits = []
    for section in ({"strategy": "uncertainty"}, {"strategy": "random"}, {"window": [1400, 1500]}):
        config = campaign.configured(max_frames=3, audit_frames=3, **section)
        audits.append([f.info["frame_id"] for f in of_role(campaign.select(config)[1], "audit")])
    assert audits[0] == audits[1] == audits[2]


def test_audit_and_picked_are_disjoint_and_sane_whatever_the_seed(campaign):
    drawn = set()
    for seed in range(40):
        config = campaign.configured(seed=seed, max_frames=3, audit_frames=3)
        content, frames = campaign.select(config)
        ids = [f.info["frame_id"] for f in frames]
        assert len(set(ids)) == len(ids) == content["audit"] + content["picked"]
        audit = of_role(frames, "audit")
        assert len(audit) == 3
        assert all(f.info["md_step"] % 10 == 0 for f in audit)
        assert not any(f.info["walker"] == 2 and f.info["md_step"] == 14 for f in frames)
        drawn |= {f.info["frame_id"] for f in audit}
    assert len(drawn) == 10  # all regular sane frames come up, and only they


def test_a_training_frame_that_was_visited_again_is_no_audit_frame(tmp_path):
    c = Campaign(tmp_path, training=(4.0, 6.0), audit_frames=8)
    c.walker([(10, 6.0, 0.3), (20, 6.5, 0.3)])
    audit = of_role(c.select()[1], "audit")
    assert [f.info["md_step"] for f in audit] == [20]
