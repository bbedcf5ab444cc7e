"""The defaults as commented YAML, and the JSON schema: both written from the pydantic models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mace_core.config.campaign import Config
from mace_core.storage import write_text

DEFAULTS_FILE = "defaults.yaml"
SCHEMA_FILE = "schema.json"

HEAD = """\
# Every key of a campaign's configuration: its default, its meaning, its bounds.
# Written by `maceloop schema --write` from mace_core/config; do not edit.
# A campaign's own file holds what it changes. "required" keys have no default.
"""

#: Column in which comments start, where the value leaves room.
_COLUMN = 34
_BOUNDS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}


def default_yaml() -> str:
    """All keys with their defaults, and what they mean as comments."""
    lines = [HEAD]
    for name, info in Config.model_fields.items():
        lines += [*_section(name, info), ""]
    return "\n".join(lines).rstrip() + "\n"


def json_schema() -> str:
    """The JSON schema of the configuration."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema"
    } | Config.model_json_schema()
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def write_files(folder: str | Path) -> list[Path]:
    """Write the defaults and the schema into ``folder``; returns their paths."""
    contents = {DEFAULTS_FILE: default_yaml(), SCHEMA_FILE: json_schema()}
    for name, content in contents.items():
        write_text(Path(folder) / name, content)
    return [Path(folder) / name for name in contents]


def _section(name: str, info: FieldInfo) -> Iterator[str]:
    models = _models(info.annotation)
    meaning = info.description or (models[0].__doc__ or "").strip().splitlines()[0]
    if info.is_required() and len(models) == 1:
        meaning += " (required)"
    yield f"# {meaning[0].upper()}{meaning[1:]}"
    yield f"{name}:"
    if len(models) == 1:
        yield from _keys(models[0], "  ")
        return
    # A union: its first member as it would be written, the others as comments.
    names = ", ".join(str(model.model_fields["engine"].default) for model in models)
    yield f"  # required: engine, one of {names}; the keys below belong to it"
    yield from _keys(models[0], "  ")
    for model in models[1:]:
        yield ""
        yield from ("  # " + line for line in _keys(model, ""))


def _keys(model: type[BaseModel], indent: str) -> Iterator[str]:
    fields = model.model_fields
    # The engine's name first: the other keys depend on it.
    for name in sorted(fields, key=lambda name: name != "engine"):
        info = fields[name]
        yield _commented(f"{indent}{name}: {_value(info)}".rstrip(), _meaning(name, info, model))
        nested = _models(info.annotation)
        if nested and len(nested) == 1:
            yield from (f"{indent}# {line}" for line in _keys(nested[0], "  "))


def _commented(line: str, comment: str) -> str:
    return f"{line:<{_COLUMN}}  # {comment}" if comment else line


def _value(info: FieldInfo) -> str:
    if info.is_required():
        return ""
    value = info.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        value = list(value)
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _meaning(name: str, info: FieldInfo, model: type[BaseModel]) -> str:
    if name == "engine":
        return (model.__doc__ or "").strip().splitlines()[0]
    parts = ["required"] if info.is_required() else []
    parts.append(info.description or "")
    choices = _choices(info.annotation)
    if choices:
        parts.append("one of " + ", ".join(choices))
    bounds = [
        f"{sign} {_plain(getattr(item, attribute))}"
        for item in info.metadata
        for attribute, sign in _BOUNDS.items()
        if isinstance(item, getattr(annotated_types, attribute.capitalize()))
    ]
    if bounds:
        parts.append(", ".join(bounds))
    return "; ".join(part for part in parts if part)


def _plain(number: Any) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _choices(annotation: Any) -> list[str]:
    """The values of the literals in an annotation."""
    if get_origin(annotation) is Literal:
        return [str(value) for value in get_args(annotation)]
    if get_origin(annotation) in _UNIONS:
        return [choice for part in get_args(annotation) for choice in _choices(part)]
    return []


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models in an annotation, in order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


_UNIONS = {Union, type(int | None)}
