"""One walk: Langevin MD that stops at once when the potential is unsure or wrong."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import Stationary, ZeroRotation, thermalize_momenta

from mace_core.config.sections import Explore
from mace_core.conventions import (
    CHARGE,
    DISCARDED_ENDS,
    DISPLACEMENT,
    GROUP,
    MACE_ENERGY,
    MACE_FORCES,
    MACE_FORCES_STD,
    MACE_UNCERTAINTY,
    MD_STEP,
    MEV,
    SPIN,
    WalkerEnd,
)
from mace_core.explore.checks import State, sanity_checks
from mace_core.explore.displacement import displacement
from mace_core.frames import canonical


@dataclass
class Walk:
    """What a walk saw and how it ended.

    A step is good when no sanity check fails and the uncertainty is within the bound;
    ``last_good_step`` is −1 when not even the start was.
    """

    end: WalkerEnd
    reason: str
    frames: list[Atoms]
    end_step: int
    last_good_step: int
    max_uncertainty: float  # eV/Å, of all steps where it was a number
    temperatures: list[float] = field(repr=False)  # K, of every step taken

    @property
    def mean_temperature(self) -> float:
        """K, over the steps taken (the start's where none was)."""
        return float(np.mean(self.temperatures[1:] or self.temperatures))

    @property
    def max_displacement(self) -> float:
        """Å, root mean square over atoms, of the kept frame furthest from the start.

        A frame at which the walk went wrong or fell apart does not count.
        """
        sound = (f for f in self.frames if f.info.get("walker_end") not in DISCARDED_ENDS)
        return max((f.info[DISPLACEMENT] for f in sound), default=0.0)


def walk(
    start: Atoms,
    calculator: Calculator,
    settings: Explore,
    temperature: float,
    rng: np.random.Generator,
    lowest_energy: float | None = None,
    report: Callable[[State], None] = lambda state: None,
    r_max: float = np.inf,
) -> Walk:
    """Langevin MD from ``start`` on the committee's mean forces.

    Args:
        start: canonical, with charge and spin.
        calculator: its results hold ``energy`` (eV), ``forces`` (eV/Å), ``forces_std`` ([n_atoms],
            eV/Å) and ``uncertainty`` (eV/Å, calibrated).
        settings: steps, timestep, friction, intervals and limits.
        temperature: K.
        rng: the only source of randomness.
        lowest_energy: eV, of labelled frames of the same atoms.
        report: called at every step.
        r_max: Å, the model's cutoff: pieces that part by more end the walk.

    Returns:
        The walk, with a frame every ``save_interval`` steps (never step 0), the last good frame
        (unless it is the start), and the frame at which it ended (unless its positions are NaN).
    """
    atoms = start.copy()
    atoms.info = {key: start.info[key] for key in (CHARGE, SPIN)}
    atoms.calc = calculator
    dynamics = langevin(atoms, settings, temperature, rng)
    bound = settings.max_force_error * MEV
    checks = None
    recorder = _Recorder(atoms, group_of(temperature), settings.save_interval)
    steps = dynamics.irun(settings.steps)
    end, reason = WalkerEnd.COMPLETED, f"all {settings.steps} steps done"
    for step in range(settings.steps + 1):
        state = _state(steps, dynamics, atoms, step, settings)
        if checks is None:
            checks = sanity_checks(
                settings,
                start,
                temperature,
                atoms.get_number_of_degrees_of_freedom(),
                state.energy,
                lowest_energy,
                r_max,
            )
        recorder.see(state)
        report(state)
        failed = next(
            ((check.end, why) for check in checks if (why := check(state)) is not None), None
        )
        if failed is None and state.uncertainty > bound:
            failed = (
                WalkerEnd.UNCERTAIN,
                f"uncertainty {state.uncertainty / MEV:.0f} meV/Å above explore.max_force_error "
                f"{settings.max_force_error:g}",
            )
        if failed is not None:
            end, reason = failed[0], f"{failed[1]} at step {step}"
            break
        recorder.good()
    return Walk(
        end=end,
        reason=reason,
        frames=recorder.frames(end),
        end_step=step,
        last_good_step=recorder.last_good_step,
        max_uncertainty=recorder.max_uncertainty,
        temperatures=recorder.temperatures,
    )


def group_of(temperature: float) -> str:
    """Name of the walkers at one temperature, e.g. ``500K``."""
    return f"{temperature:g}K"


def langevin(
    atoms: Atoms, settings: Explore, temperature: float, rng: np.random.Generator
) -> Langevin:
    """Thermal velocities without drift (and, for molecules, rotation), and the integrator.

    The centre of mass is held by a constraint: ASE's own ``fixcm`` does not sample NVT.
    """
    atoms.set_constraint(FixCom())
    thermalize_momenta(atoms, temperature, rng=rng)
    if not atoms.pbc.any() and len(atoms) > 2:
        Stationary(atoms)
        with np.errstate(divide="ignore", invalid="ignore"):  # linear molecules: a zero moment
            ZeroRotation(atoms)
    return Langevin(
        atoms,
        settings.timestep * units.fs,
        temperature_K=temperature,
        friction=settings.friction / units.fs,
        fixcm=False,
        rng=rng,
    )


def _state(steps, dynamics: Langevin, atoms: Atoms, step: int, settings: Explore) -> State:
    """Take the next step (none for step 0) and read what the committee says of it."""
    results = {}
    try:
        with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a runaway's overflow: checked below
            next(steps)
        results = atoms.calc.results
    except Exception:
        # Neighbour lists may fail on positions that have run away: that is NaN, not a bug.
        if _finite_positions(atoms):
            raise
    n = len(atoms)
    return State(
        step=step,
        atoms=atoms,
        energy=float(results.get("energy", np.nan)),
        forces=np.asarray(results.get("forces", np.full((n, 3), np.nan))),
        forces_std=np.asarray(results.get("forces_std", np.full(n, np.nan))),
        uncertainty=float(results.get("uncertainty", np.nan)),
        temperature=float(atoms.get_temperature()),
        reach=max(settings.min_distance_factor, settings.fragment_factor),
    )


def _finite_positions(atoms: Atoms) -> bool:
    return bool(np.isfinite(atoms.positions).all())


class _Recorder:
    """Keeps what a walk must remember: little at each step, frames where they are due."""

    def __init__(self, atoms: Atoms, group: str, save_interval: int):
        self.template = Atoms(atoms.numbers, cell=atoms.cell, pbc=atoms.pbc, info=dict(atoms.info))
        self.template.info[GROUP] = group
        self.start = atoms.positions.copy()
        self.save_interval = save_interval
        self.temperatures: list[float] = []
        self.max_uncertainty = 0.0
        self._kept: list[Atoms] = []
        self._now: tuple[State, np.ndarray] | None = None
        self._last_good: tuple[State, np.ndarray] | None = None

    def see(self, state: State) -> None:
        self._now = state, state.atoms.positions.copy()
        if np.isfinite(state.temperature):
            self.temperatures.append(state.temperature)
        if np.isfinite(state.uncertainty):
            self.max_uncertainty = max(self.max_uncertainty, state.uncertainty)

    def good(self) -> None:
        self._last_good = self._now
        if self._now[0].step > 0 and self._now[0].step % self.save_interval == 0:
            self._kept.append(self._frame(*self._now))

    @property
    def last_good_step(self) -> int:
        return -1 if self._last_good is None else self._last_good[0].step

    def frames(self, end: WalkerEnd) -> list[Atoms]:
        """Frames in the order of their steps, the end and the last good one marked."""
        kept = list(self._kept)
        if self.last_good_step > 0 and not (kept and kept[-1].info[MD_STEP] == self.last_good_step):
            kept.append(self._frame(*self._last_good))
        if kept and kept[-1].info[MD_STEP] == self.last_good_step:
            kept[-1].info["last_good"] = True
        if end == WalkerEnd.COMPLETED:
            kept[-1].info["walker_end"] = str(end)
        elif np.isfinite(self._now[1]).all():
            kept.append(self._frame(*self._now))
            kept[-1].info["walker_end"] = str(end)
        return kept

    def _frame(self, state: State, positions: np.ndarray) -> Atoms:
        frame = self.template.copy()
        frame.positions = positions
        frame = canonical(frame)
        frame.info[MD_STEP] = state.step
        frame.info[DISPLACEMENT] = displacement(self.start, positions, self.template.pbc.any())
        for store, key, value in (
            (frame.info, MACE_ENERGY, state.energy),
            (frame.info, MACE_UNCERTAINTY, state.uncertainty),
            (frame.arrays, MACE_FORCES, state.forces),
            (frame.arrays, MACE_FORCES_STD, state.forces_std),
        ):
            if np.isfinite(value).all():
                store[key] = np.array(value) if isinstance(value, np.ndarray) else value
        return frame
