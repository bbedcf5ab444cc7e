"""Levels of theory in words, and levels that are known by words alone."""

from functools import cache
from pathlib import Path
from typing import Any, get_args

from mace_core.config.labellers import Labeller, LabellerBase
from mace_core.conventions import THEORY_FORMAT
from mace_core.errors import UserError
from mace_core.storage import read_json

#: ``engine`` of a level that somebody stated: nothing here can compute at it.
STATED = "stated"
#: Settings that are said even where they are an engine's defaults.
_ALWAYS = ("xc", "method", "basis")
_LONGEST = 60


def stated_level(words: str) -> dict[str, Any]:
    """What ``theory.json`` says of labels whose level is known by a description only.

    The same words, whatever the space between them, are the same level.

    Raises:
        UserError: there are no words.
    """
    level = " ".join(words.split())
    if not level:
        raise UserError(
            "--level is empty",
            mend='say what the labels were computed with, e.g. --level "PBE/def2-SVP, ORCA 5"',
        )
    return {"format": THEORY_FORMAT, "engine": STATED, "versions": {}, "settings": {"level": level}}


def level_of(theory: dict[str, Any]) -> str:
    """One line, e.g. ``pyscf 2.13.1 · xc pbe · basis def2-svp``.

    Args:
        theory: content of a ``theory.json``. Settings that have their engine's default are left
            out, but for functional, method and basis.
    """
    engine, settings = theory["engine"], theory["settings"]
    if engine == STATED:
        return settings["level"]
    versions = dict(theory["versions"])
    head = f"{engine} {versions.pop(engine, '')}".strip()
    if versions:
        head += f" ({', '.join(f'{name} {number}' for name, number in versions.items())})"
    defaults = _defaults().get(engine, {})
    said = [
        f"{key} {_short(value)}"
        for key, value in settings.items()
        if key != "engine" and (key in _ALWAYS or defaults.get(key, ...) != value)
    ]
    return " · ".join([head, *said])


def level_in(folder: Path) -> str:
    """:func:`level_of` the level whose labels lie in a folder, or that this is not known."""
    try:
        return level_of(read_json(folder / "theory.json"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "unknown: theory.json is missing or damaged"


@cache
def _defaults() -> dict[str, dict[str, Any]]:
    """Settings of each engine as they are when nobody sets them."""
    engines: tuple[type[LabellerBase], ...] = get_args(get_args(Labeller)[0])
    return {
        kind.model_fields["engine"].default: {
            name: field.get_default(call_default_factory=True)
            for name, field in kind.model_fields.items()
            if not field.is_required()
        }
        for kind in engines
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
