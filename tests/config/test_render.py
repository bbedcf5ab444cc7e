"""The defaults and the schema on disk are those of the models."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mace_core.cli.main import build
from mace_core.config.campaign import Config, parse_config
from mace_core.config.render import (
    DEFAULTS_FILE,
    SCHEMA_FILE,
    default_yaml,
    json_schema,
    write_files,
)

FOLDER = Path(__file__).parents[2] / "config"


@pytest.mark.parametrize(
    ("name", "render"), [(DEFAULTS_FILE, default_yaml), (SCHEMA_FILE, json_schema)]
)
def test_committed_files_have_not_drifted(name, render):
    assert (FOLDER / name).read_text() == render(), "run `maceloop schema --write`"


def test_write_mends_a_drift(tmp_path):
    (tmp_path / DEFAULTS_FILE).write_text("drifted")
    write_files(tmp_path)
    assert (tmp_path / DEFAULTS_FILE).read_text() == default_yaml()
    assert (tmp_path / SCHEMA_FILE).read_text() == json_schema()


def test_the_yaml_is_the_defaults():
    """Read back, with what is required filled in, it is a configuration that says nothing else."""
    required = {
        "campaign": {"name": "c"},
        "labeller": {"engine": "pyscf"},
        "seed": {"structures": ["x"]},
    }
    values = yaml.safe_load(default_yaml())
    for section, keys in required.items():
        values[section] |= keys
    assert parse_config(values, where="defaults") == parse_config(required, where="required")


def keys_of(model, prefix=""):
    for name, info in model.model_fields.items():
        yield name, info
        if hasattr(info.annotation, "model_fields"):
            yield from keys_of(info.annotation)


def test_every_key_and_description_is_in_the_yaml():
    text = default_yaml()
    listed = list(keys_of(Config))
    assert len(listed) > 70
    for name, info in listed:
        assert f"{name}:" in text
        if info.description:
            assert info.description in text or info.description.capitalize() in text


def test_required_keys_bounds_choices_and_other_engines_are_shown():
    text = default_yaml()
    lines = {line.split(":")[0].strip(): line for line in text.splitlines()}
    assert "required" in lines["name"]
    assert "≥ 2" in lines["members"]
    assert "one of float32, float64" in lines["default_dtype"]
    for engine in ("tblite", "emt", "ase"):
        assert f"# engine: {engine}" in text


def test_schema_command(tmp_path):
    run = CliRunner().invoke
    assert json.loads(run(build(), ["schema"]).output)["title"] == "Config"
    assert run(build(), ["schema", "--yaml"]).output == default_yaml()
    assert run(build(), ["schema", "--yaml", "--out", str(tmp_path / "d.yaml")]).exit_code == 0
    assert (tmp_path / "d.yaml").read_text() == default_yaml()


def test_the_schema_accepts_the_demo_and_refuses_an_unknown_key():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(json_schema())
    demo = yaml.safe_load((FOLDER / "config.yaml").read_text())
    jsonschema.validate(demo, schema)
    demo["train"]["epochs"] = 3
    with pytest.raises(jsonschema.ValidationError, match="epochs"):
        jsonschema.validate(demo, schema)
