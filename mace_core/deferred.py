"""Packages whose ``__init__`` imports far more than is used here, run when it is asked for.

``import ase.io`` reaches ``ase.spacegroup`` for one module of it, and so half of scipy; ``ase.md``
does so by ``ase.optimize``; ``import vesin`` imports torch. Each costs a short command more time
than its work. Here such a package is found as ever, and its submodules are imported as ever, but
its own ``__init__`` runs when a name is looked up that it does not have yet.
"""

import sys
import threading
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

#: What is put off.
PACKAGES = frozenset({"ase.optimize", "ase.spacegroup", "vesin"})

_running = threading.RLock()


class _Package(ModuleType):
    def __getattr__(self, name: str):
        # Tools that walk through sys.modules ask for such names, and want no import.
        if name.startswith("__") and name != "__all__":
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with _running:
            if type(self) is _Package:
                self.__class__ = ModuleType
                try:
                    self.__spec__.loader.run(self)
                except BaseException:
                    self.__class__ = _Package
                    raise
        return getattr(self, name)


class _Later(Loader):
    def __init__(self, loader: Loader):
        self.run = loader.exec_module

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Package


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name not in PACKAGES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


def defer() -> None:
    """From here on, in this process, put off what is in :data:`PACKAGES`."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
