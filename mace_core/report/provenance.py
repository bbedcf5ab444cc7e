"""Where a campaign's numbers come from: versions, hashes, settings and their changes."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml

from mace_core.chronicle import Chronicle
from mace_core.errors import without_passwords
from mace_core.storage import sha256_file

PACKAGES = (
    "maceloop",
    "torch",
    "e3nn",
    "ase",
    "numpy",
    "vesin",
    "pymatgen",
    "pyscf",
    "tblite",
    "snakemake",
    "mlflow",
)


def versions() -> dict[str, str]:
    """Installed versions of what the numbers rest on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def model_hashes(chronicle: Chronicle) -> list[tuple[str, str]]:
    """(file, SHA-256) of the best generation's weights."""
    if chronicle.best is None:
        return []
    generation = next(gen for gen in chronicle.generations if gen.g == chronicle.best)
    return [
        (str(path), sha256_file(path))
        for path in generation.model_files
        if path.suffix == ".safetensors"
    ]


def config_yaml(chronicle: Chronicle) -> str:
    """The last generation's whole configuration, passwords hidden."""
    config = without_passwords(chronicle.last.plan.get("config", {}))
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def changed_settings(chronicle: Chronicle) -> list[dict[str, Any]]:
    """Settings that a user changed under way: generation from which, key, before, after."""
    changes = []
    before: dict[str, Any] | None = None
    for generation in chronicle.generations:
        now = _flat(generation.plan.get("config", {}))
        if before is not None:
            for key in sorted(before.keys() | now.keys()):
                if before.get(key) != now.get(key) and not key.startswith("tracking."):
                    changes.append(
                        {
                            "generation": generation.g,
                            "key": key,
                            "before": before.get(key),
                            "after": now.get(key),
                        }
                    )
        before = now
    return changes


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        path: item
        for key, inner in value.items()
        for path, item in _flat(inner, f"{prefix}.{key}" if prefix else str(key)).items()
    }
