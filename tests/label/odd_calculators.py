"""ASE calculators that behave badly, or say things in unusual ways, for the tests of labelling."""

import ctypes
import os
import subprocess
import sys
import time

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT


class Mover(EMT):
    """Computes other positions than it was given, as a program that wraps atoms may."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        atoms = atoms.copy()
        atoms.positions[0, 0] += 0.5
        super().calculate(atoms, properties, system_changes)


class Deleter(EMT):
    """Loses an atom."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms[:-1], properties, system_changes)


class Swapper(EMT):
    """Sorts atoms by species in place."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms[np.argsort(atoms.numbers)], properties, system_changes)


class Forceless(Calculator):
    """Says that all went well and returns no forces."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 1.0}


class Smeared(EMT):
    """Has a free energy that is not its energy."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["free_energy"] = self.results["energy"]
        self.results["energy"] += 0.25


class Noisy(EMT):
    """Prints from Python and from C, in words that could be taken for an answer, and litters."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        print('{"status": "computed", "energy": 0}')
        ctypes.CDLL(None).puts(b'{"status": "computed", "energy": 0}')
        sys.stdin.read()  # ends at once: the jobs are not there to be read
        with open("density.dat", "x") as file:  # a name of its own in each attempt's folder
            file.write("0")
        super().calculate(atoms, properties, system_changes)


class Crasher(EMT):
    """Dies of a segmentation fault."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        ctypes.string_at(0)


class Quitter(EMT):
    """Says something, and ends the process."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        print("a line before the end", flush=True)
        os._exit(3)


class Strict(Calculator):
    """Records what it was told of charge and spin."""

    implemented_properties = ("energy", "forces")

    def __init__(self, charge=None, dft=None):
        super().__init__()
        self.told = (charge, (dft or {}).get("mult"))

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        charge, multiplicity = self.told
        self.results = {
            "energy": 100.0 * charge + multiplicity,
            "forces": np.zeros((len(atoms), 3)),
        }


class Spawner(EMT):
    """Starts programs, one of them in a session of its own, says who they are, and hangs."""

    def __init__(self, pids: str, **kwargs):
        self.pids = pids
        super().__init__(**kwargs)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        children = [
            subprocess.Popen(["sleep", "600"], start_new_session=away) for away in (False, True)
        ]
        with open(self.pids + ".new", "w") as file:
            file.write(" ".join(str(pid) for pid in (os.getpid(), *(c.pid for c in children))))
        os.rename(self.pids + ".new", self.pids)
        time.sleep(600)
