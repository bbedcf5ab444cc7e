"""Whether charge and spin reach the program, and whether the energy's unit can be right."""

import numpy as np

from mace_core.conventions import CHARGE, SPIN
from mace_core.label.conformance import tolerances as t
from mace_core.label.conformance.derivatives import moved, strained
from mace_core.label.conformance.findings import Finding, failed, ok, skipped
from mace_core.label.conformance.probe import Probe, Subject

_POINTS = (-2, -1, 1, 2)


def charge(subject: Subject, probe: Probe) -> Finding:
    """One electron less: another energy (for a neutral molecule: an ionisation energy)."""
    before = subject.frame.info
    spin_after = before[SPIN] - 1 if before[SPIN] else 1
    ion = probe.changed(subject.frame, charge=before[CHARGE] + 1, spin=spin_after)
    (record,) = probe.outcomes([ion], anew=False)
    if not probe.settings.knows_charge:
        return _refused(record, "charge")
    if not record.converged:
        return skipped(f"the frame with one electron less ended {record.status}: {record.reason}")
    change = record.energy - subject.label.energy
    if abs(change) < t.ELECTRON_ENERGY:
        return failed(
            f"one electron less changes the energy by {change:.2g} eV: the charge is ignored",
            "give the frame's 'charge' to the program, or have it refuse frames with one",
            value=abs(change),
            limit=t.ELECTRON_ENERGY,
            unit="eV",
        )
    if before[CHARGE] == 0 and not subject.frame.pbc.any():
        low, high = t.IONISATION
        if not low <= change <= high:
            return failed(
                f"ionisation energy {change:.4g} eV: no molecule's is outside {low:g} to {high:g}; "
                "the charge is ignored or has the wrong sign, or the energy is not in eV",
                "see whether 'charge' reaches the program (+1 is one electron less), and return "
                "the energy in eV (Hartree is 27.2 eV)",
                value=change,
                unit="eV",
            )
        return ok("ionisation energy", value=change, unit="eV")
    return ok("change of the energy by one electron less", value=change, unit="eV")


def spin(subject: Subject, probe: Probe) -> Finding:
    """Two more unpaired electrons: another energy."""
    flipped = probe.changed(subject.frame, spin=subject.frame.info[SPIN] + 2)
    (record,) = probe.outcomes([flipped], anew=False)
    if not probe.settings.knows_spin:
        return _refused(record, "spin")
    if not record.converged:
        return skipped(f"the frame with spin + 2 ended {record.status}: {record.reason}")
    change = record.energy - subject.label.energy
    if abs(change) < t.ELECTRON_ENERGY:
        return failed(
            f"two more unpaired electrons change the energy by {change:.2g} eV: spin is ignored",
            "give the frame's 'spin' (N↑ − N↓) to the program, or have it refuse frames with one",
            value=abs(change),
            limit=t.ELECTRON_ENERGY,
            unit="eV",
        )
    return ok("change of the energy by two more unpaired electrons", value=change, unit="eV")


def energy_unit(subject: Subject, probe: Probe) -> Finding:
    """The curvature of the energy is that of a bond, or of a solid.

    Energy and forces in one wrong unit agree with each other; nature tells them apart.
    """
    return _bulk_modulus(subject, probe) if subject.periodic else _bond(subject, probe)


def _bond(subject: Subject, probe: Probe) -> Finding:
    frame = subject.frame
    if len(frame) < 2 or frame.pbc.any():
        return skipped("no bond to stretch")
    distances = frame.get_all_distances()
    i, j = np.unravel_index(np.argmin(distances + 1e9 * np.eye(len(frame))), distances.shape)
    along = np.zeros((len(frame), 3))
    along[j] = (frame.positions[j] - frame.positions[i]) / distances[i, j]
    records = probe.labels([moved(frame, n * t.STRETCH * along) for n in _POINTS])
    stiffness = _curvature([r.energy for r in records], subject.label.energy, t.STRETCH)
    low, high = t.BOND_STIFFNESS
    bond = f"bond {frame.symbols[i]}–{frame.symbols[j]} of {distances[i, j]:.2f} Å"
    if low <= stiffness <= high:
        return ok(f"stiffness of the {bond}", value=stiffness, unit="eV/Å²")
    return failed(
        f"the {bond} has a stiffness of {stiffness:.3g} eV/Å², and bonds have {low:g} to {high:g}",
        "return the energy in eV of the whole frame (Hartree is 27.2 eV, 1 eV is 23 kcal/mol); if "
        "this is no bond, check with a molecule",
        value=stiffness,
        unit="eV/Å²",
    )


def _bulk_modulus(subject: Subject, probe: Probe) -> Finding:
    frame, eye = subject.frame, np.eye(3)
    records = probe.labels([strained(frame, n * t.SWELL * eye) for n in _POINTS])
    a, b, c, d = (r.energy for r in records)
    volume = frame.get_volume()
    slope = (8 * (c - b) - (d - a)) / (12 * t.SWELL)  # dE/de = 3V dE/dV
    second = _curvature([a, b, c, d], subject.label.energy, t.SWELL)
    # V = V0 (1 + e)³: d²E/de² = 9V² E'' + 6V E'; B = V E''.
    modulus = (second - 2 * slope) / (9 * volume) * 160.21766
    numbers = {"value": float(modulus), "unit": "GPa"}
    mend = "return the energy in eV of the whole frame (Hartree is 27.2 eV, 1 eV is 23 kcal/mol)"
    element = _measured(frame)
    if element is not None:
        symbol, known = element
        if known / t.BULK_FACTOR <= modulus <= known * t.BULK_FACTOR:
            return ok(f"bulk modulus; that of {symbol} is {known:g}", **numbers)
        return failed(
            f"bulk modulus {modulus:.3g} GPa, and that of {symbol} is {known:g}",
            f"{mend}; if this is another phase under pressure, check with a crystal near its "
            "equilibrium volume",
            **numbers,
        )
    low, high = t.BULK_MODULUS
    if low <= modulus <= high:
        return ok(
            "bulk modulus (a compound: a wrong unit would show only beyond a factor)", **numbers
        )
    return failed(
        f"bulk modulus {modulus:.3g} GPa, and solids have {low:g} to {high:g}", mend, **numbers
    )


def _measured(frame) -> tuple[str, float] | None:
    """Symbol and measured bulk modulus (GPa) of an elemental crystal, from pymatgen's table."""
    import warnings

    from pymatgen.core import Element

    symbols = set(frame.get_chemical_symbols())
    # Carbon's entry is graphite's: diamond is thirteen times as stiff.
    if len(symbols) != 1 or symbols == {"C"}:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = Element(symbols.pop()).bulk_modulus
    return None if value is None else (frame.get_chemical_symbols()[0], float(value))


def _curvature(energies: list[float], middle: float, step: float) -> float:
    a, b, c, d = energies
    return (16 * (b + c) - (a + d) - 30 * middle) / (12 * step**2)


def _refused(record, what: str) -> Finding:
    if record.converged:
        return failed(
            f"the engine is not told a frame's {what}, and labelled one that has a {what}",
            f"have it refuse frames with a {what}",
        )
    return ok(f"it does not know a frame's {what}, and refuses one that has it: {record.reason}")
