"""Which variant is opened, and what happens without any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mace_core.native import loader

ROOT = Path(__file__).parents[2]


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        cwd=ROOT,
        check=True,
    )


FORCES = """
import sys; sys.path.insert(0, "tests")
from mace_tools import crystal, small_model
from mace_core.committee import Committee
committee = Committee([small_model(seed) for seed in range(2)])
p = committee.predict([crystal()])[0]
print(committee.engine is not None, *p.forces.ravel())
"""


def forces(**environment) -> tuple[str, list[float], str]:
    done = run(FORCES, **environment)
    native, *numbers = done.stdout.split()
    return native, [float(x) for x in numbers], done.stderr


@pytest.mark.skipif(loader.library() is None, reason="no native kernels")
def test_every_variant_gives_the_same():
    """Each that this processor runs, and torch, to rounding."""
    native, expected, _ = forces(MACELOOP_NATIVE="off")
    assert native == "False"
    level = loader.library().maceloop_cpu_level()
    for variant in loader.variants():
        if variant != "native" and int(variant[1:]) > level:
            continue
        native, found, said = forces(MACELOOP_NATIVE=variant)
        assert native == "True" and said == ""
        assert found == pytest.approx(expected, abs=1e-9, rel=0)


def test_without_kernels_torch_serves_and_says_so_once():
    missing = """
from pathlib import Path
from mace_core.native import loader
real = loader.variants
loader.variants = lambda: real(Path("tests"))
"""
    done = run(missing + FORCES + "Committee([small_model()])")
    assert done.stdout.startswith("False") and done.stderr.count("no native kernels") == 1
    assert "C++ compiler" in done.stderr


def test_an_unknown_variant_is_named():
    done = run(
        "from mace_core.native.loader import library; print(library())", MACELOOP_NATIVE="v9"
    )
    assert done.stdout.strip() == "None" and "v9" in done.stderr


@pytest.mark.skipif(loader.library() is None, reason="no native kernels")
def test_kernels_of_another_interface_are_not_used(tmp_path):
    assert loader.fits(loader.library())
    assert loader.fits(loader.library(), tmp_path)  # installed without sources
    (tmp_path / "tables.h").write_text("struct Frames { int other; };")
    compiled = loader.library().maceloop_interface().decode()
    assert loader.fits(loader.library(), tmp_path) == (compiled == "")
