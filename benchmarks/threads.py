"""What several threads gain in a process: the same steps on one thread and on more, in turn.

    python benchmarks/threads.py [--threads 1 2] [--rounds 12] [--only TEXT] [--configurations a c]

Milliseconds of a step by the clock, minimum and median over the rounds, in a process of its own
for each number of threads; in a round each does steps for about the same time. Cores that others
use show in the median at once: they have to be idle. Writes ``benchmarks/results/threads.json``.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "side_by_side"))

from processes import Child, alternate, differences, disagreement
from weights import Store, material_of

from mace_core.storage import write_json

HERE = Path(__file__).parent
FRAMES = HERE / "data" / "3bpa_300K_first20.extxyz"
#: Frames of a batch: the default of ``train.batch_size``, that of benchmarks/bench.py, and one that
#: two threads can share evenly.
BATCHES = (2, 5, 10)
#: Share of what is compared that numbers of threads may differ by: losses come from moved weights.
TOLERANCE = 1e-4


def md(store: Store, configuration: str) -> Iterator[tuple[str, dict]]:
    """Steps of MD with the ASE calculator, of one model and of a committee of four."""
    for system, members in [("3BPA", 1), ("Si64", 1), ("Si512", 1), ("3BPA", 4)]:
        material = material_of(system)
        models = [store.ours(material, configuration, seed) for seed in range(members)]
        kind = f"committee of {members}" if members > 1 else "MD step"
        options = {"kind": "MD", "models": models, "frames": store.frames(system)}
        yield f"{kind}, {system}, {configuration}, float32", {**options, "dtype": "float32"}


def training(store: Store, configuration: str) -> Iterator[tuple[str, dict]]:
    """Training steps (batch, energies, forces, loss, gradients, optimiser, average) and scores."""
    options = {
        "models": [store.ours("3BPA", configuration)],
        "frames": store.training_frames(FRAMES),
        "dtype": "float32",
    }
    for size in BATCHES:
        name = f"training step, {size} × 3BPA, {configuration}, float32"
        yield name, {"kind": "Training", "batch_size": size, **options}
    yield f"held-out frames, 20 × 3BPA, {configuration}, float32", {"kind": "HeldOut", **options}


def row(name: str, options: dict, children: list[Child], rounds: int, seconds: float) -> list[dict]:
    """Times by the clock of the work on each child.

    Raises:
        SystemExit: they do not compute the same.
    """
    for child in children:
        child.do("open", name=name, **options)
    first, *others = [child.do("check", name=name) for child in children]
    for other in others:
        if wrong := disagreement(differences(first, other), TOLERANCE):
            raise SystemExit(f"{name}: results depend on the number of threads ({wrong})")
    times = alternate(children, name, rounds, seconds)
    for child in children:
        child.do("close", name=name)
    return [{"min": min(t.wall), "median": statistics.median(t.wall)} for t in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a process in a round")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--configurations", nargs="+", default=["a", "c"])
    arguments = parser.parse_args()
    found = {}
    header = [f"{n} threads, ms" if n > 1 else "1 thread, ms" for n in arguments.threads]
    print("| work |", " | ".join([*header, "times as fast, min · median"]), "|")
    print("|---" * (len(header) + 2) + "|")
    with ExitStack() as stack:
        store = Store(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        log = store.folder / "log"
        children = [
            stack.enter_context(Child(sys.executable, "ours", log, {"OMP_NUM_THREADS": str(n)}))
            for n in arguments.threads
        ]
        for configuration in arguments.configurations:
            for name, options in chain(md(store, configuration), training(store, configuration)):
                if arguments.only not in name:
                    continue
                times = row(name, options, children, arguments.rounds, arguments.seconds)
                found[name] = dict(zip(arguments.threads, times, strict=True))
                cells = [f"{t['min']:.3g} · {t['median']:.3g}" for t in times]
                gain = " · ".join(f"{times[0][k] / times[-1][k]:.2f}" for k in ("min", "median"))
                print("|", " | ".join([name, *cells, gain]), "|", flush=True)
    write_json(HERE / "results" / "threads.json", found)


if __name__ == "__main__":
    main()
