"""The whole configuration, and reading it from YAML."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from mace_core.config import sections as s
from mace_core.config.labellers import Labeller, LabellerBase
from mace_core.errors import UserError


class Config(s.Section):
    """One campaign."""

    campaign: s.Campaign
    labeller: Labeller = Field(..., description="the level of theory")
    seed: s.Seed = s.Seed()
    data: s.Data = s.Data()
    model: s.Model = s.Model()
    train: s.Train = s.Train()
    explore: s.Explore = s.Explore()
    select: s.Select = s.Select()
    label: s.Label = s.Label()
    stop: s.Stop = s.Stop()
    tracking: s.Tracking = s.Tracking()

    @model_validator(mode="after")
    def _consistent(self):
        if not self.seed.structures and not self.data.labelled:
            raise ValueError(
                "nothing to start from: give seed.structures (a file) or data.labelled (an extxyz)"
            )
        if self.explore.max_force_error >= self.select.window[1]:
            raise ValueError(
                f"explore.max_force_error ({self.explore.max_force_error} meV/Å) must be below the "
                f"upper end of select.window ({self.select.window[1]}): frames where walkers stop "
                "could never be picked"
            )
        return self

    @property
    def n_label_batches(self) -> int:
        """Label jobs of a generation: fixed before it starts, the trailing ones may be empty."""
        return -(-(self.select.max_frames + self.select.audit_frames) // self.label.batch_size)


class _LabellerOnly(s.Section):
    """A file that is about an engine and nothing else."""

    labeller: Labeller


def load_config(path: str | Path) -> Config:
    """The configuration in a YAML file.

    Raises:
        UserError: all that is wrong with it, each with key, value and mend.
    """
    return parse_config(_mapping(path), where=str(path))


def load_labeller(path: str | Path) -> tuple[LabellerBase, Config | None]:
    """The labeller in a campaign's YAML or plan.json, or in a YAML that has nothing else.

    Returns:
        Its settings, and the configuration where there is more of it.

    Raises:
        UserError: as :func:`load_config`.
    """
    if Path(path).suffix != ".json":
        values = _mapping(path)
        if set(values) == {"labeller"}:
            return _validated(_LabellerOnly, values, str(path)).labeller, None
    config = load_settings(path)
    return config.labeller, config


def _mapping(path: str | Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such configuration file: {path}", mend="give --configfile PATH")
    try:
        values = _parsed(path.read_text())
    except yaml.YAMLError as err:
        raise UserError(f"not YAML: {err}", where=str(path)) from err
    if not isinstance(values, dict):
        raise UserError("the configuration is empty or not a mapping", where=str(path))
    return values


def _parsed(text: str) -> Any:
    try:
        # libyaml's parser, where there is one: the Snakefile reads a configuration many times.
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.safe_load(text)  # whose message shows the line


def load_settings(path: str | Path) -> Config:
    """The configuration in a YAML file, or the frozen one in a generation's plan.json."""
    if Path(path).suffix == ".json" and Path(path).is_file():
        config = json.loads(Path(path).read_text())["config"]
        config["train"] = s.TRAIN_BEFORE | config.get("train", {})
        return parse_config(config, where=str(path))
    return load_config(path)


def parse_config(values: dict[str, Any], where: str) -> Config:
    """``values`` as a :class:`Config`; raises :class:`UserError`."""
    return _validated(Config, values, where)


def _validated(kind: type[s.Section], values: dict[str, Any], where: str) -> Any:
    try:
        return kind.model_validate(values)
    except ValidationError as err:
        problems = [_problem(item) for item in err.errors()]
        raise UserError(
            "\n".join(problems), where=where, mend="`maceloop schema --yaml` lists every key"
        ) from None


def _problem(item: dict[str, Any]) -> str:
    """One pydantic error in a user's words: key, value, what would be right."""
    # Which of the engines it is stands between "labeller" and the key.
    loc = item["loc"]
    location = [part for n, part in enumerate(loc) if not (n and loc[n - 1] == "labeller")]
    key = ".".join(str(part) for part in location) or "configuration"
    if item["type"] == "extra_forbidden":
        close = get_close_matches(str(location[-1]), _keys_at(location[:-1]), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{key}: unknown key{hint}"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {item['input']!r} is wrong: {message}"


def _keys_at(location: list[Any]) -> list[str]:
    """Keys that are known below ``location``."""
    schema = Config.model_json_schema()
    nodes = [schema]
    for part in location:
        nodes = [child for node in nodes for child in _children(schema, node, part)]
    return [
        key
        for node in nodes
        for deref in _resolve(schema, node)
        for key in deref.get("properties", {})
    ]


def _children(schema: dict, node: dict, part: Any) -> list[dict]:
    children = []
    for deref in _resolve(schema, node):
        if isinstance(part, int):
            children.append(deref.get("items", {}))
        elif part in deref.get("properties", {}):
            children.append(deref["properties"][part])
    return children


def _resolve(schema: dict, node: dict) -> list[dict]:
    """``node`` with references and unions followed."""
    if "$ref" in node:
        return _resolve(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    options = [*node.get("anyOf", []), *node.get("oneOf", []), *node.get("allOf", [])]
    if options:
        return [deref for option in options for deref in _resolve(schema, option)]
    return [node]
