"""Stands in for VASP: reads its input files, computes by EMT, writes the files that VASP would.

How: well, unconverged, exactly (converged in the last step), truncated, killed, error, silent.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from ase.calculators.emt import EMT
from ase.io import read
from ase.units import GPa

how = sys.argv[1]
tags = dict(line.split(" = ") for line in Path("INCAR").read_text().splitlines())
nelm = int(tags["NELM"])
grid = Path("KPOINTS").read_text().splitlines()[3].split()
atoms = read("POSCAR", format="vasp")
potcar = [line.split()[1] for line in Path("POTCAR").read_text().splitlines() if "VRHFIN" in line]
elements = list(dict.fromkeys(atoms.get_chemical_symbols()))
assert potcar == [f"={element}:" for element in elements], "POTCAR does not go with POSCAR"
print(" running on    1 total cores")
if how == "silent":
    sys.exit()
if how == "error":
    print("|     VERY BAD NEWS! internal error in subroutine SGRCON |")
    sys.exit(1)
if how == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
atoms.wrap()  # as VASP does
atoms.calc = EMT()
energy, forces = atoms.get_potential_energy(force_consistent=True), atoms.get_forces()
pressure = -atoms.get_stress(voigt=False) / (0.1 * GPa)  # kbar, positive when compressed
steps = {"well": 8, "exactly": nelm}.get(how, nelm)


def vectors(name, rows, precision=8):
    lines = "".join(
        f"<v> {' '.join(f'{x:.{precision}f}' for x in row)} </v>\n" for row in np.asarray(rows)
    )
    return f'<varray name="{name}" >\n{lines}</varray>\n'


def structure(name):
    cell = atoms.cell[:]
    return (
        f'<structure{name}>\n<crystal>\n{vectors("basis", cell)}<i name="volume"> '
        f"{atoms.get_volume():.8f} </i>\n{vectors('rec_basis', np.linalg.inv(cell).T)}</crystal>\n"
        f"{vectors('positions', atoms.get_scaled_positions(wrap=False))}</structure>\n"
    )


def energies(total):
    # Energies without entropy differ, so that the wrong one would be noticed.
    values = {"e_fr_energy": total, "e_wo_entrp": total + 0.2, "e_0_energy": total + 0.1}
    inner = "".join(f'<i name="{name}"> {value:.8f} </i>\n' for name, value in values.items())
    return f"<energy>\n{inner}</energy>\n"


rows = "".join(
    f"<rc><c>{symbol}</c><c>{elements.index(symbol) + 1}</c></rc>\n"
    for symbol in atoms.get_chemical_symbols()
)
types = "".join(
    f"<rc><c>{atoms.get_chemical_symbols().count(e)}</c><c>{e}</c><c>60.0</c><c>11.0</c>"
    f"<c>PAW_PBE {e} made up</c></rc>\n"
    for e in elements
)
fields = {"atoms": ["element", "atomtype"]}
fields["atomtypes"] = ["atomspertype", "element", "mass", "valence", "pseudopotential"]
arrays = "".join(
    f'<array name="{name}" ><dimension dim="1">ion</dimension>\n'
    + "".join(f'<field type="string">{f}</field>' for f in fields[name])
    + f"<set>\n{content}</set></array>\n"
    for name, content in (("atoms", rows), ("atomtypes", types))
)
scsteps = "".join(f"<scstep>\n{energies(energy + 2.0**-n)}</scstep>\n" for n in range(1, steps + 1))
text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
<generator><i name="program" type="string">vasp </i><i name="version" type="string">6.4.2  </i></generator>
<incar><i type="int" name="NELM">{nelm}</i></incar>
<kpoints><generation param="Gamma"><v type="int" name="divisions">{" ".join(map(str, grid))}</v>
<v name="usershift"> 0 0 0 </v></generation>{vectors("kpointlist", [[0, 0, 0]])}{vectors("weights", [[1]])}</kpoints>
<parameters><i type="int" name="NELM">{nelm}</i><i type="int" name="NSW">0</i></parameters>
<atominfo><atoms>{len(atoms)}</atoms><types>{len(elements)}</types>{arrays}</atominfo>
{structure(' name="initialpos"')}<calculation>
{scsteps}{structure("")}{vectors("forces", forces)}{vectors("stress", pressure)}{energies(energy)}</calculation>
{structure(' name="finalpos"')}</modeling>
"""  # noqa: E501
Path("vasprun.xml").write_text(text[: len(text) // 2] if how == "truncated" else text)
with open("OUTCAR", "w") as outcar:
    outcar.write(" vasp.6.4.2 20Jul23 (build) complex\n")
    said = (
        "EDIFF was not reached (unconverged)"
        if how == "unconverged"
        else "because EDIFF is reached"
    )
    outcar.write(f"------------------------ aborting loop {said} -----------------------\n")
    if how != "truncated":
        outcar.write(" General timing and accounting informations for this job:\n")
