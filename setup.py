"""Compiles the native kernels; all else about the package is in pyproject.toml.

Each variant is the same sources for another instruction set, as a shared library that
:mod:`mace_core.native.loader` opens with ctypes: nothing is linked against Python or torch. A
variant that cannot be compiled is left out, and the install goes on.
"""

import copy
import hashlib
import os
import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("mace_core/native")
SOURCES = sorted(path for path in NATIVE.iterdir() if path.suffix in (".cpp", ".h"))
# By this mace_core.native.loader.fits sees whether Python and kernels speak of the same structures.
INTERFACE = hashlib.sha256((NATIVE / "tables.h").read_bytes()).hexdigest()[:16]
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
FLAGS += ["-fvisibility=hidden", "-g0", "-pthread"]
V2 = ["-msse4.2", "-mpopcnt"]
V3 = [*V2, "-mavx2", "-mfma", "-mbmi", "-mbmi2", "-mlzcnt", "-mf16c", "-mmovbe"]
V4 = [*V3, *(f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl"))]
if platform.machine().lower() in ("x86_64", "amd64"):
    VARIANTS = {"v2": V2, "v3": V3, "v4": V4}
elif platform.machine().lower() in ("aarch64", "arm64"):
    VARIANTS = {"native": ["-mcpu=native"]}
else:
    VARIANTS = {"native": ["-march=native"]}


class BuildKernels(build_ext):
    """Compiles the variants side by side, each with its own objects: they have the same names."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or True  # as many as there are processors

    def build_extension(self, ext):
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(own, ext)


setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            f"mace_core.native._kernels_{variant}",
            sources=[str(path) for path in SOURCES if path.suffix == ".cpp"],
            depends=[str(path) for path in SOURCES if path.suffix == ".h"],
            define_macros=[("MACELOOP_INTERFACE", f'"{INTERFACE}"')],
            extra_compile_args=[*FLAGS, *flags],
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        )
        for variant, flags in VARIANTS.items()
    ],
)
