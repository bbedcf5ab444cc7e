"""Forces and stress against the slope of the energy, by four-point finite differences."""

import numpy as np
from ase import Atoms

from mace_core.frames import canonical
from mace_core.label.conformance import tolerances as t
from mace_core.label.conformance import units
from mace_core.label.conformance.findings import Finding, failed, judged, skipped
from mace_core.label.conformance.probe import Probe, Subject

_POINTS = (-2, -1, 1, 2)


def forces(subject: Subject, probe: Probe) -> Finding:
    """The force along random unit vectors of all coordinates is minus the energy's slope."""
    frame = subject.frame
    rng = np.random.default_rng(2)
    directions = rng.normal(size=(1 if probe.quick else 3, *frame.positions.shape))
    directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)
    frames = [moved(frame, n * t.STEP * d) for d in directions for n in _POINTS]
    expected = [-s for s in _slopes([r.energy for r in probe.labels(frames)], t.STEP)]
    returned = np.einsum("dai,ai->d", directions, np.array(subject.label.forces))
    worst = np.abs(returned - expected).max()
    size = np.linalg.norm(subject.label.forces, axis=1).max()
    meaning = units.named(
        units.factor(returned, expected), units.FORCES, the_energy_is_per_atom=len(frame)
    )
    return judged(
        worst,
        probe.force,
        "eV/Å",
        f"force − finite difference along {len(directions)} directions; "
        f"largest force {size:.2g} eV/Å",
        "forces are not minus the slope of the energy: "
        + (meaning or f"e.g. {returned[0]:.5g} returned, {expected[0]:.5g} by finite difference"),
        _mend_units(meaning)
        or "a term of the gradient is missing (grid response, Pulay, dispersion, smearing: the "
        "free energy is the one to return), or SCF and grid are too loose",
    )


def stress(subject: Subject, probe: Probe) -> Finding:
    """The stress along symmetric strains is the energy's slope over the volume."""
    if not subject.periodic:
        return skipped("not periodic: no stress")
    if subject.label.stress is None:
        return skipped(
            "no stress returned: potentials trained on these labels do not learn it, and "
            "constant-pressure MD with them is not backed by labels"
        )
    frame = subject.frame
    rng = np.random.default_rng(3)
    strains = [np.eye(3)]
    for _ in range(0 if probe.quick else 2):
        s = rng.normal(size=(3, 3))
        strains.append(s + s.T)
    if probe.quick:  # the sign, and the order of the Voigt components, in one
        strains[0] = np.array([[1.0, 0.5, 0.2], [0.5, 1.3, -0.4], [0.2, -0.4, 0.8]])
    strains = [s / np.linalg.norm(s) for s in strains]
    frames = [strained(frame, n * t.STRAIN * s) for s in strains for n in _POINTS]
    volume = frame.get_volume()
    expected = np.array(_slopes([r.energy for r in probe.labels(frames)], t.STRAIN)) / volume
    full = np.array(subject.label.stress)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    returned = np.array([(full * s).sum() for s in strains])
    meaning = units.named(
        units.factor(returned, expected),
        units.STRESS,
        it_is_the_virial=-volume,
        it_is_not_divided=volume,
    )
    return judged(
        np.abs(returned - expected).max(),
        probe.stress,
        "eV/Å³",
        f"stress − finite difference along {len(strains)} strains; "
        f"pressure {-np.trace(full) / 3 * 160.2:.3g} GPa",
        "stress is not the slope of the energy over the volume: "
        + (meaning or f"e.g. {returned[0]:.4g} returned, {expected[0]:.4g} by finite difference"),
        _mend_units(meaning)
        or "wanted are xx yy zz yz xz xy of +(1/V) dE/dε in eV/Å³ (negative when compressed); with "
        "plane waves a higher cutoff makes the Pulay stress small",
    )


def translation(subject: Subject, probe: Probe) -> Finding:
    """Moving all atoms changes nothing, and the forces sum to zero."""
    frame = subject.frame
    (label,) = probe.labels([moved(frame, np.array([0.37, -0.21, 0.53]))])
    net = np.abs(np.sum(subject.label.forces, axis=0)).max() / len(frame)
    if net > t.NET_FORCE:
        return failed(
            f"the forces do not sum to zero: {net:.2g} eV/Å per atom",
            "a term of the gradient is missing (grid response), or forces belong to other atoms",
            value=float(net),
            limit=t.NET_FORCE,
            unit="eV/Å",
        )
    return same(subject, label, np.eye(3), "moved as a whole", f"net force {net:.1g} eV/Å per atom")


def rotation(subject: Subject, probe: Probe) -> Finding:
    """Turning a molecule turns its forces and leaves its energy."""
    if subject.frame.pbc.any():
        return skipped("periodic: grids and k-points turn with the cell")
    angle, axis = 1.1, np.array([1.0, 2.0, 3.0]) / np.sqrt(14)
    K = np.cross(np.eye(3), axis)
    R = np.eye(3) - np.sin(angle) * K + (1 - np.cos(angle)) * K @ K
    turned = subject.frame.copy()
    centre = turned.positions.mean(axis=0)
    turned.positions = (turned.positions - centre) @ R.T + centre
    (label,) = probe.labels([canonical(turned)])
    return same(subject, label, R, "turned")


def permutation(subject: Subject, probe: Probe) -> Finding:
    """Renumbering the atoms renumbers their forces and leaves the energy."""
    n = len(subject.frame)
    if n < 2:
        return skipped("one atom")
    order = np.random.default_rng(4).permutation(n)
    if (order == np.arange(n)).all():
        order = order[::-1]
    (label,) = probe.labels([canonical(subject.frame[order])])
    back = np.argsort(order)
    return same(
        subject,
        label,
        np.eye(3),
        "renumbered",
        order=back,
        mend="return forces in the order of the atoms that came in: undo the program's own sorting",
    )


def same(
    subject: Subject,
    label,
    R: np.ndarray,
    how: str,
    more: str = "",
    order: np.ndarray | None = None,
    mend: str = "a finer grid or a higher cutoff makes this smaller; if it does not, what is "
    "computed is not the frame that came in",
) -> Finding:
    """Whether a label of the same structure is the subject's, turned by R and put in order."""
    forces = np.array(label.forces)
    forces = forces if order is None else forces[order]
    energy = abs(label.energy - subject.label.energy) / len(subject.frame)
    force = np.abs(forces - np.array(subject.label.forces) @ R.T).max()
    seen = f"{how}: energy {energy * 1e3:.1g} meV/atom, forces {force:.1g} eV/Å"
    if force > t.SAME_FORCE:
        return failed(
            f"{seen}: the forces differ",
            mend,
            value=float(force),
            limit=t.SAME_FORCE,
            unit="eV/Å",
        )
    return judged(
        energy,
        t.SAME_ENERGY,
        "eV/atom",
        f"{how}; forces within {force:.1g} eV/Å" + (f"; {more}" if more else ""),
        f"{seen}: the energy differs",
        mend,
    )


def moved(frame: Atoms, by: np.ndarray) -> Atoms:
    """A canonical copy with other positions."""
    atoms = frame.copy()
    atoms.positions += by
    return canonical(atoms)


def strained(frame: Atoms, strain: np.ndarray) -> Atoms:
    """A canonical copy whose space is strained (symmetric)."""
    atoms = frame.copy()
    atoms.set_cell(frame.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    return canonical(atoms)


def _slopes(energies: list[float], step: float) -> list[float]:
    return [
        (8 * (c - b) - (d - a)) / (12 * step)
        for a, b, c, d in np.reshape(energies, (-1, 4)).tolist()
    ]


def _mend_units(meaning: str) -> str:
    return (
        "convert: energy in eV, forces in eV/Å, stress in eV/Å³ with ASE's sign" if meaning else ""
    )
