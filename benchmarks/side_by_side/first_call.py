"""From the start of Python to the first forces: what a short job pays.

python first_call.py MODULE CALCULATOR MODEL FRAMES OPTIONS

Prints CPU seconds as JSON: after importing ase, after importing the calculator, after loading the
model, after the first forces, after the second; and the clock at the first forces, which the
process that started this one reads too.
"""

import json
import sys
import time

from ase.io import read

module, calculator, model, frames, options = sys.argv[1:]
atoms = read(frames)
times = [time.process_time()]
MACECalculator = getattr(__import__(module, fromlist=[calculator]), calculator)
times.append(time.process_time())
atoms.calc = MACECalculator(model, **json.loads(options))
times.append(time.process_time())
for call in ("first", "second"):
    atoms.positions += 0.001
    atoms.get_potential_energy()
    atoms.get_forces()
    times.append(time.process_time())
    if call == "first":
        clock = time.perf_counter()
parts = dict(zip(("ase", "import", "load", "first", "second"), times, strict=True))
print(json.dumps({**parts, "clock": clock}))
