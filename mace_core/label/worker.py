"""The process that computes: ``python -m mace_core.label.worker``.

It reads one JSON job a line from stdin and answers one JSON line on a descriptor of its own,
because engines print. It leads a session of its own, to be killed with all that it started.

Jobs are ``{"settings": …, "elements": […]}`` (the first one: build and check the engine) and
``{"directory", "rung", "guess", "numbers", "positions", "cell", "pbc", "charge", "spin"}``. The
settings' engine is imported once and kept.
"""

import argparse
import contextlib
import ctypes
import faulthandler
import json
import os
import select
import shutil
import sys
import traceback
from typing import Any

from mace_core.deferred import defer
from mace_core.label.session import kill_session


def main() -> None:
    """Answer jobs until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, required=True, help="descriptor to answer on")
    parser.add_argument("--scratch", required=True, help="folder of this run's attempts")
    options = parser.parse_args()

    if os.getsid(0) != os.getpid():
        parser.error("it kills its session when it ends: let `maceloop label` start it in its own")
    # Programs that an engine starts must not read the jobs, nor keep the answers' pipe open.
    jobs_fd = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.set_inheritable(options.answers, False)
    _end_with_driver(options, jobs_fd)
    faulthandler.enable()
    defer()
    sys.path.append(os.getcwd())  # a calculator may lie in a file of the user's
    os.environ["PYSCF_TMPDIR"] = options.scratch

    engine = None
    with open(jobs_fd) as jobs, open(options.answers, "w", buffering=1) as answers:
        for line in jobs:
            job = json.loads(line)
            if "settings" in job:
                engine, answer = _start(job)
            else:
                answer = _attempt(engine, job, options.scratch)
            answers.write(json.dumps(answer) + "\n")
    os._exit(0)


def _end_with_driver(options: argparse.Namespace, jobs_fd: int) -> None:
    """See to it that nothing of this session outlives the driver, however it dies.

    A guard, a small fork of this process, sees stdin hang up and kills the rest. Unlike a thread it
    works while an engine holds the interpreter; unlike the kernel's parent-death signal, which
    would orphan them, it finds the programs that the engine started.
    """
    if os.fork():
        return
    os.close(options.answers)
    hang_up = select.poll()
    hang_up.register(jobs_fd, 0)
    hang_up.poll()
    kill_session(os.getsid(0), spare=os.getpid())
    shutil.rmtree(options.scratch, ignore_errors=True)
    os._exit(0)


def _start(job: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The engine, imported and checked; or what a user has to mend."""
    from pydantic import TypeAdapter

    from mace_core.config.labellers import Labeller
    from mace_core.errors import UserError
    from mace_core.label.engines import engine_for

    settings = TypeAdapter(Labeller).validate_python(job["settings"])
    engine = engine_for(settings)
    try:
        engine.check(job["elements"])
    except UserError as err:
        return None, {"what": err.what, "where": err.where, "mend": err.mend}
    return engine, {"ready": True}


def _attempt(engine: Any, job: dict[str, Any], scratch: str) -> dict[str, Any]:
    """One attempt in its own folder, with all that is printed in ``output.txt`` there."""
    import numpy as np
    from ase import Atoms

    from mace_core.label.engines import Guess, NotConverged, Refused

    frame = Atoms(job["numbers"], job["positions"], cell=job["cell"], pbc=job["pbc"])
    frame.info.update(charge=job["charge"], spin=job["spin"])
    os.chdir(job["directory"])
    try:
        with _output("output.txt"):
            try:
                result = engine.compute(frame, job["rung"], Guess(job["guess"]))
            except NotConverged as err:
                return {"status": "unconverged", "reason": str(err)}
            except Refused as err:
                return {"status": "failed", "reason": str(err)}
            except Exception as err:
                traceback.print_exc()
                return {"status": "failed", "reason": f"{type(err).__name__}: {err}"}
    finally:
        os.chdir(scratch)

    def plain(value):
        return None if value is None else np.asarray(value, dtype=float).tolist()

    return {
        "status": "computed",
        "energy": plain(result.energy),
        "forces": plain(result.forces),
        "stress": plain(result.stress),
        "numbers": np.asarray(result.numbers).tolist(),
        "positions": plain(result.positions),
    }


@contextlib.contextmanager
def _output(path: str):
    """Send what this process prints, and what C and Fortran print in it, to a file."""
    saved = [os.dup(1), os.dup(2)]
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.dup2(target, 1)
        os.dup2(target, 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        for descriptor in (*saved, target):
            os.close(descriptor)


if __name__ == "__main__":
    main()
