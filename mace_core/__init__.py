"""maceloop: active learning of MACE interatomic potentials.

The public names load on first use, so that a Snakefile or a command line that only needs
the configuration does not pay for importing torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "MACE": "mace_core.model.model",
    "MACECalculator": "mace_core.calculator",
    "load_model": "mace_core.model.files",
    "save_model": "mace_core.model.files",
}
__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'mace_core' has no attribute {name!r}")
