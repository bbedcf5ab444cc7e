"""Short molecular dynamics with a cheap engine, for more varied first frames."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from mace_core.config.labellers import Labeller
from mace_core.config.sections import CheapMD
from mace_core.contacts import close_contact
from mace_core.errors import UserError
from mace_core.label.engines import engine_for
from mace_core.progress import Progress

FRICTION = 0.02  # 1/fs: strong enough to forget the given geometry within a picosecond


class EngineCalculator(Calculator):
    """An engine of the labels as an ASE calculator: energy (eV) and forces (eV/Å).

    Args:
        settings: of the engine.
        info: charge and spin of the frame.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, settings: Labeller, info: dict[str, int]):
        super().__init__()
        self._engine = engine_for(settings)
        self._info = dict(info)

    def calculate(self, atoms=None, properties=("forces",), system_changes=all_changes):
        """See :class:`ase.calculators.calculator.Calculator`."""
        super().calculate(atoms, properties, system_changes)
        frame = atoms.copy()
        frame.info = self._info
        result = self._engine.compute(frame, self._engine.RUNGS[0])
        self.results = {"energy": result.energy, "forces": np.asarray(result.forces)}


def cheap_md(
    start: Atoms,
    settings: CheapMD,
    n_frames: int,
    factor: float,
    rng: np.random.Generator,
    what: str,
) -> list[tuple[int, Atoms]]:
    """Langevin MD with a cheap engine.

    Args:
        start: first frame, with charge and spin; it is not among the frames returned.
        settings: engine, temperature (K), timestep (fs), interval (steps).
        n_frames: frames to keep, one every ``settings.interval`` steps.
        factor: least distance of two atoms, as a share of the sum of their covalent radii.
        rng: source of velocities and of the thermostat's noise.
        what: names the structure in messages.

    Returns:
        The MD step and the frame, for each frame kept.

    Raises:
        UserError: the engine cannot be used or fails, or atoms come too close.
    """
    mend = "lower seed.md.temperature or seed.md.timestep, or leave seed.md out"
    engine = settings.labeller.engine
    atoms = start.copy()
    atoms.calc = EngineCalculator(settings.labeller, start.info)
    dynamics = _langevin(atoms, settings, rng)
    kept: list[tuple[int, Atoms]] = []
    with Progress(f"gen 0 · {engine} MD of {what}", n_frames * settings.interval) as progress:
        while len(kept) < n_frames:
            try:
                with _scratch():
                    dynamics.run(settings.interval)
            except UserError:
                raise
            except ImportError as err:
                raise UserError(
                    f"the engine {engine!r} cannot be imported: {err}",
                    where="seed.md.labeller",
                    mend="install it, or leave seed.md out",
                ) from err
            except Exception as err:  # engines raise anything
                raise UserError(
                    f"MD of {what}: {engine} failed after step {dynamics.nsteps}: {err}",
                    where="seed.md",
                    mend=mend,
                ) from err
            frame = start.copy()
            frame.positions = atoms.positions
            astray = close_contact(frame, factor) if np.isfinite(frame.positions).all() else "NaN"
            if astray:
                raise UserError(
                    f"MD of {what} went astray by step {dynamics.nsteps}: {astray}",
                    where="seed.md",
                    mend=mend,
                )
            kept.append((dynamics.nsteps, frame))
            progress.update(dynamics.nsteps, f"T {atoms.get_temperature():.0f} K")
    return kept


def _langevin(atoms: Atoms, settings: CheapMD, rng: np.random.Generator) -> Langevin:
    atoms.set_constraint(FixCom())
    thermalize_momenta(atoms, settings.temperature, rng=rng)
    return Langevin(
        atoms,
        settings.timestep * units.fs,
        temperature_K=settings.temperature,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """A folder of its own, and silence on stdout: engines write files and print each SCF."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        sys.stdout.flush()
        stdout = os.dup(1)
        try:
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), 1)
            yield
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
