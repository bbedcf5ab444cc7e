"""The ASE calculator, for one model or a committee."""

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from mace_core.committee import Backend, Committee, Follower
from mace_core.errors import UserError
from mace_core.model.files import DTYPES


class MACECalculator(Calculator):
    """Energies, forces and stress for ASE; with several models their mean and spread.

    Results: ``energy`` = ``free_energy`` (eV), ``node_energy`` [n], ``forces`` (eV/Å), and
    ``stress`` (Voigt, eV/Å³) where the cell is periodic in all three directions. Of a committee
    also ``forces_std`` [n], ``max_forces_std`` (eV/Å), ``energy_std`` (eV), and with a calibration
    factor ``uncertainty`` = factor · max_forces_std (eV/Å).

    Args:
        model_paths: a folder that :func:`mace_core.save_model` wrote, or several: a committee.
        device: torch device.
        default_dtype: "float64" or "float32".
        calibration_factor: from the campaign's committee.json.
        committee: models already in memory, instead of ``model_paths``.
        backend: "auto", "native" or "torch": see :class:`mace_core.committee.Committee`.
        threads: of the native kernels; by default those of ``OMP_NUM_THREADS``, else one. A
            ``committee`` has its own, as its device, precision and back end.
        **kwargs: for :class:`ase.calculators.calculator.Calculator`.

    Raises:
        UserError: a folder without a model, models that do not fit together, or (on use) an element
            that the models do not know.
    """

    implemented_properties = (
        "energy",
        "free_energy",
        "forces",
        "stress",
        "node_energy",
        "forces_std",
        "energy_std",
        "max_forces_std",
        "uncertainty",
    )

    def __init__(
        self,
        model_paths: str | Path | Sequence[str | Path] | None = None,
        device: str = "cpu",
        default_dtype: str = "float64",
        calibration_factor: float | None = None,
        committee: Committee | None = None,
        backend: Backend = "auto",
        threads: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if (model_paths is None) == (committee is None):
            raise UserError("give model_paths or committee, one of the two")
        if committee is None:
            if default_dtype not in DTYPES:
                raise UserError(
                    f"unknown default_dtype {default_dtype!r}", mend="float64 or float32"
                )
            folders = [model_paths] if isinstance(model_paths, str | Path) else list(model_paths)
            committee = Committee.load(folders, default_dtype, device, backend, threads)
        self.committee = committee
        self.calibration_factor = calibration_factor
        self._follower = Follower(committee)
        self._seen: Atoms | None = None

    def check_state(self, atoms, tol=1e-15):
        """What changed since the last calculation, of all that the energy depends on."""
        return _changes(self.atoms, atoms)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """All results at once: forces cost little beyond the energy."""
        if atoms is not None:
            self.atoms = self._remember(atoms)
        p = self._follower.predict(self.atoms, stress=bool(self.atoms.pbc.all()))
        self.results = {
            "energy": p.energy,
            "free_energy": p.energy,
            "node_energy": p.node_energy,
            "forces": p.forces,
        }
        if p.stress is not None:
            self.results["stress"] = p.stress
        if len(self.committee) > 1:
            forces_std = p.forces_std
            max_forces_std = float(forces_std.max())
            self.results |= {
                "forces_std": forces_std,
                "max_forces_std": max_forces_std,
                "energy_std": p.energy_std,
            }
            if self.calibration_factor is not None:
                self.results["uncertainty"] = self.calibration_factor * max_forces_std

    def _remember(self, atoms: Atoms) -> Atoms:
        """A copy of ``atoms``; the last one, moved, where nothing else has changed."""
        if _changes(self._seen, atoms) == ["positions"]:
            self._seen.positions[:] = atoms.positions
        else:
            self._seen = atoms.copy()
        return self._seen


def _changes(last: Atoms | None, atoms: Atoms) -> list[str]:
    """In which of the things that the energy depends on the two differ."""
    if last is None or len(last) != len(atoms):
        return list(all_changes)
    pairs = {
        "positions": (last.positions, atoms.positions),
        "numbers": (last.numbers, atoms.numbers),
        "cell": (last.cell.array, atoms.cell.array),
        "pbc": (last.pbc, atoms.pbc),
    }
    # Bytes: a fifth of array_equal's time, which small systems feel three times a step.
    return [name for name, (a, b) in pairs.items() if a.tobytes() != b.tobytes()]
