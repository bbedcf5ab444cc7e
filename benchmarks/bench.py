"""maceloop beside its peers: same weights, same precision, one thread each.

    make bench
    python benchmarks/bench.py [--quick] [--only TEXT] [--peer PYTHON]

Each side works in a process of its own, ours in this environment, mace-torch 0.3.16 and
symmetrix-xl 0.1.1 in ``.peer-venv`` (``scripts/peer/make.sh``). The driver lets them work in turn:
in a round each side does the same kind of steps for about the same time. Process-CPU time of a
step, minimum and median over the rounds. Before anything is timed, energies and forces (or the
losses of the first training steps) of both sides are compared.

Writes ``latest.json`` (after each row), ``latest.md`` and ``cost_against_size.png`` into
``benchmarks/results``.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "side_by_side"))

from comparisons import MD, TRAINING, Comparison
from floor import count
from growth import SIZES, many_small, memory, scaling, start, two_processes
from plot import cost_against_size
from processes import Child, ChildError
from table import Limit, Row, limits_markdown, markdown
from weights import Store, atoms_of, material_of, model

from mace_core.neighbours import neighbours
from mace_core.storage import write_json, write_text

HERE = Path(__file__).parent
ROOT = HERE.parent
FRAMES = HERE / "data" / "3bpa_300K_first20.extxyz"
PARTS = ("md", "training", "symmetrix", "start", "memory", "scaling", "throughput", "profile")
#: Prints the versions of what is named behind it.
VERSIONS = """
import importlib.metadata, json, sys
found = {d.name.lower(): d.version for d in importlib.metadata.distributions()}
print(json.dumps({name: found[name] for name in sys.argv[1:] if name in found}))
"""


class Results:
    """What was found so far, on disk and on the screen."""

    def __init__(self, out: Path, about: dict):
        self.out, self.about = out, about
        self.rows: list[Row] = []
        self.limits: list[Limit] = []
        self.more: dict = {}
        self.begun = time.perf_counter()

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self.begun:4.0f} s] {text}", flush=True)

    def add(self, one: Row | Limit) -> None:
        if isinstance(one, Row):
            self.rows.append(one)
            ratio = one.ratio and f"{one.ratio['min']:.1f}× (median {one.ratio['median']:.1f}×)"
            self.say(f"{one.name}: {ratio or one.disagreement or one.note} beside {one.peer}")
        else:
            self.limits.append(one)
            self.say(f"{one.name}: {one.ours:.3g} {one.unit}")
        self.write()

    def write(self) -> None:
        content = {
            **self.about,
            "seconds": round(time.perf_counter() - self.begun),
            "rows": [row.as_json() for row in self.rows],
            "limits": [limit.as_json() for limit in self.limits],
            **self.more,
        }
        write_json(self.out / "latest.json", content)

    def markdown(self) -> str:
        return "\n\n".join(
            text
            for text in (
                f"{self.about['date']}, {self.about['machine']['processor']}, "
                f"{self.about['machine']['cores']} cores, commit {self.about['commit']}",
                markdown(self.rows) if self.rows else "",
                limits_markdown(self.limits) if self.limits else "",
            )
            if text
        )


def about(peer: str) -> dict:
    """When, where, and what was compared."""

    def output(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()

    processor = platform.processor() or platform.machine()
    flags = ""
    if os.path.exists("/proc/cpuinfo"):
        text = Path("/proc/cpuinfo").read_text()
        found = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
        processor = found[1] if found else processor
        flags = "AVX-512" if "avx512f" in text else "AVX2" if "avx2" in text else ""
    names = ("torch", "e3nn", "ase", "numpy", "mace-torch", "symmetrix-xl")
    dirty = "+" if output("git", "status", "--porcelain", "--untracked-files=no") else ""
    return {
        "date": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "commit": output("git", "rev-parse", "--short", "HEAD") + dirty,
        "machine": {"processor": processor, "vectors": flags, "cores": os.cpu_count()},
        "load_before": os.getloadavg()[0],
        "versions": {
            "ours": json.loads(output(sys.executable, "-c", VERSIONS, *names)),
            "peer": json.loads(output(peer, "-c", VERSIONS, *names)),
        },
    }


def floors(results: Results, ours: Child) -> list[dict]:
    """Counted operations of MD steps, and what plain matrix products would take for them."""
    rates = {
        dtype: ours.do("call", function="gemm", dtype=dtype)["GFLOP/s"]
        for dtype in ("float32", "float64")
    }
    results.more["gemm_GFLOP/s"] = rates
    measured = {row.name: row.ours_ms for row in results.rows if row.peer == "mace-torch"}
    found = []
    for system, configuration, dtype, *_ in MD:
        name = f"MD step, {system}, {configuration}, {dtype}"
        if name not in measured:
            continue
        atoms, of_system = atoms_of(system), model(material_of(system), configuration)
        (edges, _) = neighbours(atoms, of_system.r_max)
        work = count(of_system, len(atoms), edges.shape[1])
        floor = work.total / rates[dtype]
        found.append(
            {
                "name": name,
                "edges": edges.shape[1],
                "MFLOP": work.total,
                "of_edges": work.edges,
                "of_products": work.products,
                "of_matrices": work.matrices,
                "floor_ms": floor,
                "ours_over_floor": measured[name]["min"] / floor,
            }
        )
    return found


def profiles(store: Store, ours: Child) -> dict:
    """Where our time goes, part by part."""
    found = {}
    for system, configuration in (("3BPA", "a"), ("3BPA", "c"), ("Si64", "a"), ("Si512", "c")):
        options = {
            "models": [store.ours(material_of(system), configuration)],
            "frames": store.frames(system),
            "dtype": "float32",
        }
        ours.do("open", name="profile", kind="MD", **options)
        ours.do("steps", name="profile", n=20)
        found[f"MD step, {system}, {configuration}"] = ours.do("parts", name="profile", n=40)
    for configuration in "ac":
        options = {
            "models": [store.ours("3BPA", configuration)],
            "frames": store.training_frames(FRAMES),
            "dtype": "float32",
            "batch_size": 5,
        }
        ours.do("open", name="profile", kind="Training", **options)
        ours.do("steps", name="profile", n=8)
        found[f"training step, {configuration}"] = ours.do("parts", name="profile", n=12)
    ours.do("close", name="profile")
    return found


def run(arguments: argparse.Namespace, results: Results, work: Path) -> None:
    """All parts that were asked for."""
    parts, quick, log = arguments.parts, arguments.quick, work / "children.log"
    ours = Child(sys.executable, "ours", log)
    peer = Child(arguments.peer, "mace_torch", log)
    store = Store(work, peer)
    rounds, seconds = (3, 0.1) if quick else (arguments.rounds, 0.3)
    compare = Comparison(ours, peer, store, rounds, seconds, arguments.only)
    with ours, peer:
        if "md" in parts:
            for row in compare.md([row for row in MD if not quick or row[3]]):
                results.add(row)
            for row in compare.committees():
                results.add(row)
        if "training" in parts:
            for row in compare.training(FRAMES, TRAINING[: 2 if quick else None]):
                results.add(row)
        if "symmetrix" in parts:
            for row in compare.symmetrix(arguments.peer, log):
                results.add(row)
        if "start" in parts:
            for configuration in "c" if quick else "ac":
                repeats = 2 if quick else 4
                for limit, own, theirs in start(store, arguments.peer, configuration, repeats):
                    results.more[f"first_call_{configuration}"] = {"ours": own, "peer": theirs}
                    results.add(limit)
        if "memory" in parts:
            for limit in memory(store, arguments.peer, FRAMES, log):
                results.add(limit)
        if "scaling" in parts:
            curves = []
            for configuration in "c" if quick else "ca":
                sizes = SIZES[:4] if quick else SIZES
                limits, curve = scaling(store, peer, configuration, log, max(3, rounds), sizes)
                curves.append(curve)
                results.more["scaling"] = curves
                for limit in limits:
                    results.add(limit)
            cost_against_size(curves, results.out / "cost_against_size.png")
        if "throughput" in parts:
            for system, configuration in (("3BPA", "a"), ("Si512", "c")):
                results.add(two_processes(store, system, configuration, log))
            for configuration in "c" if quick else "ca":
                for small in (64, 8):
                    results.add(many_small(store, ours, configuration, rounds, small))
        if "profile" in parts:
            results.more["floors"] = floors(results, ours)
            results.more["profile"] = profiles(store, ours)
            results.write()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds")
    parser.add_argument("--only", default="", help="of MD, committee, training: names holding this")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--peer", help="a Python with the peers, instead of .peer-venv")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    if arguments.peer is None:
        subprocess.run([ROOT / "scripts" / "peer" / "make.sh"], check=True)
        arguments.peer = str(ROOT / ".peer-venv" / "bin" / "python")
    results = Results(arguments.out, about(arguments.peer))
    with tempfile.TemporaryDirectory(prefix="maceloop-bench-") as work:
        try:
            run(arguments, results, Path(work))
        except ChildError as err:
            log = Path(work) / "children.log"
            tail = log.read_text().splitlines()[-30:] if log.exists() else []
            raise SystemExit("\n".join([*tail, f"bench: {err}"])) from err
    text = results.markdown()
    write_text(arguments.out / "latest.md", text + "\n")
    results.write()
    print("\n" + text)
    if any(row.disagreement for row in results.rows):
        raise SystemExit("bench: the two sides do not compute the same")


if __name__ == "__main__":
    main()
