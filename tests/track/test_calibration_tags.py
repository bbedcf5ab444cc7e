"""What MLflow is told about a factor: measured with its interval, or assumed."""

from fake_campaign import write_fake_campaign

from mace_core.chronicle import Chronicle
from mace_core.config import load_config
from mace_core.layout import Layout
from mace_core.storage import read_json, write_json
from mace_core.track.records import generation_record

ASSUMED = {
    "factor": 3.0,
    "factor_low": None,
    "factor_high": None,
    "calibrated": False,
    "coverage": 0.9,
    "level": None,
    "n_frames": 2,
    "generations": [1],
    "source": "the committee cannot be calibrated on 2 frames, 5 are needed "
    "(validation frames of generation 1)",
}


def test_tags_and_metrics_of_a_factor(tmp_path):
    config = load_config(write_fake_campaign(tmp_path, generations=1))
    layout = Layout(config.campaign.results_dir, config.campaign.name)
    assess, committee = read_json(layout.assess(1)), read_json(layout.committee(1))
    measured = assess["calibration"] | {"factor": 2.5, "factor_low": 2.0, "factor_high": 4.0}
    coverage = assess["measured_coverage"] | {"expected": None}
    changed = {"calibration": measured, "measured_coverage": coverage}
    write_json(layout.committee(1), committee | {"calibration": ASSUMED})
    write_json(layout.assess(1), assess | changed)
    chronicle = Chronicle(config)
    record = generation_record(chronicle, chronicle.generations[1])
    assert record.tags["calibration"].startswith("not calibrated yet (assumed factor 3); ")
    assert record.tags["calibration_next"].startswith("2.5 (90% interval 2 to 4), bounds the ")
    assert record.metrics["calibration/factor_low"] == [(1, 2.0)]
    assert record.metrics["calibration/factor_high"] == [(1, 4.0)]
    assert "calibration/coverage_expected" not in record.metrics
    assert "calibration" not in generation_record(chronicle, chronicle.generations[0]).tags
