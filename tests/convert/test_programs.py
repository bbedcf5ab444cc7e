"""Programs that run mace-torch's model files run ours: OpenMM, torch-sim, janus, LAMMPS's form.

Needs a Python that has mace-torch and them (`scripts/peer/make.sh`, then `programs.sh`).
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from golden_tools import FOLDER
from mace_tools import small_model

from mace_core.calculator import MACECalculator
from mace_core.convert.files import export_model
from mace_core.model.files import save_model

pytestmark = pytest.mark.slow

#: eV in OpenMM-ML's kJ/mol and nm.
_OPENMM_EV = 96.4853

#: Each prints energy (eV) and forces (eV/Å) of FRAME by FILE as JSON in its last line.
OPENMM = """
import json, sys
import openmm
from ase.io import read
from openmm import app
from openmmml import MLPotential

atoms = read(sys.argv[2])
topology = app.Topology()
residue = topology.addResidue("molecule", topology.addChain())
for Z in atoms.numbers:
    topology.addAtom("X", app.Element.getByAtomicNumber(int(Z)), residue)
potential = MLPotential("mace", modelPath=sys.argv[1])
system = potential.createSystem(topology, precision="double", returnEnergyType="energy")
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
context.setPositions(0.1 * atoms.positions)
state = context.getState(energy=True, forces=True)
energy, forces = state.getPotentialEnergy(), state.getForces(asNumpy=True)
print(json.dumps([energy._value, forces._value.tolist()]))
"""
TORCH_SIM = """
import json, sys
import torch, torch_sim
from ase.io import read
from torch_sim.models.mace import MaceModel

where = {"device": torch.device("cpu"), "dtype": torch.float64}
module = torch.load(sys.argv[1], weights_only=False)
model = MaceModel(model=module, compute_forces=True, compute_stress=False, **where)
atoms = read(sys.argv[2])
found = model(torch_sim.initialize_state([atoms, atoms], **where))
print(json.dumps([found["energy"][1].item(), found["forces"][len(atoms):].tolist()]))
"""
LAMMPS = """
import json, sys
import torch
from ase.io import read
from ase.neighborlist import neighbor_list
from mace.cli.create_lammps_model import main

file, frame = sys.argv[1:]
sys.argv = ["mace_create_lammps_model", file, "--dtype", "float64"]
main()
model, atoms = torch.jit.load(file + "-lammps.pt"), read(frame)
edges = torch.tensor(neighbor_list("ij", atoms, float(model.r_max)))
none = torch.zeros(edges.shape[1], 3, dtype=torch.float64)
which = [model.atomic_numbers.tolist().index(Z) for Z in atoms.numbers]
found = model(
    {
        "positions": torch.tensor(atoms.positions),
        "edge_index": edges,
        "unit_shifts": none,
        "shifts": none,
        "node_attrs": torch.eye(len(model.atomic_numbers), dtype=torch.float64)[which],
        "cell": torch.zeros(3, 3, dtype=torch.float64),
        "batch": torch.zeros(len(atoms), dtype=torch.long),
        "ptr": torch.tensor([0, len(atoms)]),
    },
    torch.ones(len(atoms), dtype=torch.float64),
    compute_virials=False,
)
print(json.dumps([found["total_energy_local"].item(), found["forces"].tolist()]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An exported file, a frame's file, and our energy and forces."""
    folder = tmp_path_factory.mktemp("programs")
    save_model(small_model(seed=1), folder / "model")
    export_model(folder / "model", folder / "ours.model")
    atoms = read(FOLDER / "ethanol.xyz")
    atoms.calc = MACECalculator(model_paths=folder / "model", default_dtype="float64")
    return (
        folder / "ours.model",
        FOLDER / "ethanol.xyz",
        atoms.get_potential_energy(),
        atoms.get_forces(),
    )


def run(arguments, cwd=None) -> str:
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, arguments)), env=environment, cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize(
    ("module", "program", "units"),
    [
        ("openmmml", OPENMM, (_OPENMM_EV, 10 * _OPENMM_EV)),
        ("torch_sim", TORCH_SIM, (1, 1)),
        ("mace", LAMMPS, (1, 1)),
    ],
    ids=["OpenMM", "torch-sim", "LAMMPS"],
)
def test_energies_and_forces_are_ours(mace_python, model, module, program, units):
    needs(mace_python, module)
    file, frame, energy, forces = model
    found = json.loads(run([mace_python, "-c", program, file, frame]).splitlines()[-1])
    assert abs(found[0] / units[0] - energy) < 1e-9
    assert np.abs(np.array(found[1]) / units[1] - forces).max() < 1e-9


def test_janus(mace_python, model, tmp_path):
    """By its command."""
    needs(mace_python, "janus_core")
    file, frame, energy, forces = model
    janus = Path(mace_python).with_name("janus")
    command = [janus, "singlepoint", "--struct", frame, "--arch", "mace", "--model", file]
    command += ["--calc-kwargs", "{'default_dtype': 'float64'}", "--no-tracker"]
    run([*command, "--file-prefix", tmp_path / "found"])
    found = read(tmp_path / "found-results.extxyz")
    assert abs(found.info["mace_energy"] - energy) < 1e-9
    assert (
        np.abs(found.arrays["mace_forces"] - forces).max() < 1e-8
    )  # as many digits as the file has


def needs(python: str, module: str) -> None:
    code = f"import importlib.util as u; raise SystemExit(u.find_spec({module!r}) is None)"
    if subprocess.run([python, "-c", code]).returncode:
        pytest.skip(f"no {module} there: scripts/peer/programs.sh")
