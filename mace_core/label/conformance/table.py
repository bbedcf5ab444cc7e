"""The table of checks, and the loop over it."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ase import Atoms

from mace_core.config.labellers import LabellerBase
from mace_core.errors import UserError
from mace_core.frames import canonical
from mace_core.label.conformance import derivatives, electrons, mishaps, repeats
from mace_core.label.conformance import tolerances as t
from mace_core.label.conformance.findings import Finding, failed, ok
from mace_core.label.conformance.probe import NoLabel, Probe, Subject
from mace_core.label.conformance.subjects import off_equilibrium
from mace_core.label.start import check_engine

Run = Callable[[Subject, Probe], Finding]


@dataclass(frozen=True)
class Check:
    """One row: what runs, and whether on every frame or only on the first."""

    name: str
    run: Run
    every: bool = False

    @property
    def what(self) -> str:
        """One line for a reader."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


CHECKS = (
    Check("forces", derivatives.forces, every=True),
    Check("stress", derivatives.stress, every=True),
    Check("energy-unit", electrons.energy_unit, every=True),
    Check("translation", derivatives.translation, every=True),
    Check("rotation", derivatives.rotation, every=True),
    Check("permutation", derivatives.permutation, every=True),
    Check("determinism", repeats.determinism),
    Check("history", repeats.history),
    Check("parallel", repeats.parallel),
    Check("ladder", repeats.ladder),
    Check("charge", electrons.charge),
    Check("spin", electrons.spin),
    Check("unconverged", mishaps.unconverged),
    Check("missing-ingredient", mishaps.ingredient),
    Check("time-limit", mishaps.time_limit),
    Check("killed", mishaps.killed),
    Check("full-disk", mishaps.full_disk),
)


def check_labeller(
    settings: LabellerBase,
    frames: Sequence[Atoms],
    *,
    only: Sequence[str] = (),
    quick: bool = False,
    threads: int = 1,
    unconverged: Atoms | None = None,
    force: float = t.FORCE,
    stress: float = t.STRESS,
    perturb: bool = True,
) -> Iterator[Finding]:
    """Put a labeller to the checks, one finding after the other as they are made.

    Args:
        settings: of the labeller.
        frames: usually a molecule, a crystal, or both; charge and spin in ``info``.
        only: names of checks; all of them if empty.
        quick: fewer labels, a weaker proof.
        threads: of the engine.
        unconverged: a frame whose SCF does not converge.
        force: limit of force − finite difference, eV/Å.
        stress: limit of stress − finite difference, eV/Å³.
        perturb: take the frames off equilibrium first, so that there are forces and stress.

    Raises:
        UserError: an unknown check; no frame; the engine cannot be started.
    """
    unknown = sorted(set(only) - {check.name for check in CHECKS})
    if unknown:
        raise UserError(
            f"--only: no check is called {unknown[0]!r}",
            mend=f"take of {', '.join(check.name for check in CHECKS)}",
        )
    if not frames:
        raise UserError("no frame to check with", mend="give --frames FILE.extxyz")
    frames = [off_equilibrium(atoms) if perturb else canonical(atoms) for atoms in frames]
    check_engine(settings, sorted({s for atoms in frames for s in atoms.get_chemical_symbols()}))
    with Probe(
        settings,
        threads=threads,
        quick=quick,
        unconverged=None if unconverged is None else canonical(unconverged),
        force=force,
        stress=stress,
    ) as probe:
        subjects = []
        for frame in frames:
            name = frame.get_chemical_formula() + (" cell" if frame.pbc.any() else "")
            started = time.monotonic()
            (record,) = probe.outcomes([frame], anew=False)
            finding = (
                ok(f"energy {record.energy:.6f} eV by rung {record.rung}")
                if record.converged
                else failed(
                    f"ended {record.status}: {record.reason}; nothing else can be checked on it",
                    "give --frames with frames that this engine is meant for, or mend it",
                )
            )
            if record.converged:
                subjects.append(Subject(name, frame, record))
            yield replace(
                finding, check="label", frame=name, seconds=time.monotonic() - started, labels=1
            )
        for check in CHECKS:
            if only and check.name not in only:
                continue
            for subject in subjects if check.every else subjects[:1]:
                started, computed = time.monotonic(), probe.computed
                try:
                    finding = check.run(subject, probe)
                except NoLabel as err:
                    finding = failed(str(err), "see whether this frame can be labelled by itself")
                yield replace(
                    finding,
                    check=check.name,
                    frame=subject.name,
                    seconds=time.monotonic() - started,
                    labels=probe.computed - computed,
                )
