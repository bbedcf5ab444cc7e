"""The level of theory: what must be equal for two labels to be trained on together."""

import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mace_core.config.labellers import LabellerBase
from mace_core.conventions import THEORY_FORMAT
from mace_core.errors import UserError
from mace_core.storage import sha256_json


def theory_id(settings: LabellerBase) -> str:
    """16 hex digits that name a level of theory: the hash of :func:`describe`.

    Imports no engine.

    Raises:
        UserError: the engine's package is not installed.
    """
    return id_of(describe(settings))


def id_of(theory: dict[str, Any]) -> str:
    """The id of the level of theory that a ``theory.json`` describes."""
    return sha256_json(theory)[:16]


def describe(settings: LabellerBase) -> dict[str, Any]:
    """Engine, versions of the programs that make the numbers, and every setting that changes them.

    An engine may add what it alone knows (:meth:`Engine.level`), e.g. hashes of pseudopotentials.

    Raises:
        UserError: the engine's package or program is not installed, or a file of it is missing.
    """
    level = _engine(settings).level()
    return {
        "format": THEORY_FORMAT,
        "engine": settings.engine,
        "versions": versions(settings),
        "settings": settings.model_dump(mode="json", exclude=set(settings.NOT_THEORY)),
        **({"level": level} if level else {}),
    }


def versions(settings: LabellerBase) -> dict[str, str]:
    """Version of each distribution or program whose release can change a label."""
    found = {}
    for name in settings.distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise UserError(
                f"labeller.engine: {settings.engine!r} needs {name}, which is not installed",
                mend=settings.INSTALL or f"pip install {name}",
            ) from None
    for name in settings.optional_distributions:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | _engine(settings).program_versions()


def engine_version(settings: LabellerBase) -> str:
    """The versions in one line, for records."""
    return ", ".join(f"{name} {number}" for name, number in versions(settings).items())


def _engine(settings: LabellerBase):
    """Imported late: the Snakefile reads this module, and engines need ASE."""
    from mace_core.label.engines import engine_for

    return engine_for(settings)
