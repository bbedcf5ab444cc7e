"""The level of theory: what must be equal for two labels to be trained on together."""

import contextlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mace_core.config.labellers import ASELabeller, EMTLabeller, LabellerBase, PySCFLabeller
from mace_core.conventions import LABEL_FORMAT
from mace_core.errors import UserError
from mace_core.storage import sha256_json


def theory_id(settings: LabellerBase) -> str:
    """16 hex digits that name a level of theory: the hash of :func:`describe`.

    Imports no engine.

    Raises:
        UserError: the engine's package is not installed.
    """
    return sha256_json(describe(settings))[:16]


def describe(settings: LabellerBase) -> dict[str, Any]:
    """Engine, versions of the programs that make the numbers, and every setting that changes them.

    Raises:
        UserError: the engine's package is not installed.
    """
    return {
        "format": LABEL_FORMAT,
        "engine": settings.engine,
        "versions": versions(settings),
        "settings": settings.model_dump(mode="json", exclude=set(settings.NOT_THEORY)),
    }


def versions(settings: LabellerBase) -> dict[str, str]:
    """Installed version of each distribution whose release can change a label."""
    found = {}
    for name in _distributions(settings):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise UserError(
                f"labeller.engine: {settings.engine!r} needs {name}, which is not installed",
                mend=f"pip install {name}",
            ) from None
    if isinstance(settings, ASELabeller):
        # A calculator of its own package (gpaw, xtb, …) counts too; one in a user's file
        # has no version but the free text of labeller.version.
        package = settings.calculator.split(":")[0].split(".")[0]
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def engine_version(settings: LabellerBase) -> str:
    """The versions in one line, for records."""
    return ", ".join(f"{name} {number}" for name, number in versions(settings).items())


def _distributions(settings: LabellerBase) -> list[str]:
    if isinstance(settings, PySCFLabeller):
        # PySCF also takes the dispersion from the functional's name, as in "b3lyp-d3bj".
        dispersed = settings.dispersion or "-d3" in settings.xc or "-d4" in settings.xc
        return ["pyscf", "pyscf-dispersion"] if dispersed else ["pyscf"]
    if isinstance(settings, EMTLabeller | ASELabeller):
        return ["ase"]
    return list(settings.REQUIRES.values())
