"""Start, memory, size, several processes, many small systems."""

import json
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from comparisons import BATCH, MACE_TORCH
from processes import HERE, Child, alternate, run_once
from table import Limit
from weights import Store, atoms_of

SIZES = (64, 216, 512, 1728, 4096, 10648)
#: Of memory alone: what the process holds anyway hides the small ones.
LARGE = (4096, 10648, 21952)
PEER_SIZES = {"a": (64, 216, 512), "c": (64, 216, 512, 1728)}


def start(store: Store, peer: str, configuration: str, repeats: int) -> Iterator[tuple]:
    """From the start of Python to the first forces; the limit, and the parts of both sides."""
    frames = store.frames("3BPA")
    options = json.dumps({"default_dtype": "float32"})
    models = {sys.executable: store.ours("3BPA", configuration)}
    models[peer] = store.theirs("3BPA", configuration)
    modules = {sys.executable: "mace_core", peer: "mace.calculators"}
    runs: dict[str, list] = {python: [] for python in models}
    for _ in range(repeats):
        for python, model in models.items():
            module = modules[python]
            command = [python, "-W", "ignore", str(HERE / "first_call.py"), module]
            runs[python].append(run_once([*command, "MACECalculator", model, frames, options]))
    best = {python: min(found, key=lambda one: one["first"]) for python, found in runs.items()}
    for quantity, what in (("first", "CPU"), ("clock", "clock")):
        ours, theirs = (min(run[quantity] for run in found) for found in runs.values())
        median = statistics.median(run[quantity] for run in runs[sys.executable])
        limit = Limit(
            f"import and first call, 3BPA {configuration}, {what}",
            "s",
            ours,
            3.0,
            1.0,
            theirs,
            note=f"median {median:.2f} s",
        )
        yield limit, best[sys.executable], best[peer]


def memory(store: Store, peer: str, frames: Path, log: Path) -> Iterator[Limit]:
    """Peak memory of whole processes."""
    md = {"kind": "MD", "frames": store.frames("Si512"), "dtype": "float32"}
    training = {
        "kind": "Training",
        "frames": store.training_frames(frames),
        "dtype": "float32",
        "batch_size": BATCH,
    }
    works = {
        "peak memory, MD of Si512 c": (md, ("Si", "c")),
        f"peak memory, training a, batch of {BATCH}": (training, ("3BPA", "a")),
    }
    for name, (options, model) in works.items():
        peaks, before = [], []
        for python, side, path in (
            (sys.executable, "ours", store.ours(*model)),
            (peer, "mace_torch", store.theirs(*model)),
        ):
            with Child(python, side, log) as child:
                child.do("open", name="work", models=[path], **options)
                before.append(child.do("steps", name="work", n=0)["peak_MB"])
                peaks.append(child.do("steps", name="work", n=8)["peak_MB"])
        ours, theirs = peaks
        note = "before the first step " + " and ".join(f"{mb:.0f}" for mb in before)
        yield Limit(name, "MB", ours, theirs, theirs / 4, theirs, note=note)


def scaling(
    store: Store, peer: Child, configuration: str, log: Path, rounds: int, sizes=SIZES
) -> tuple[list[Limit], dict]:
    """Time and memory of an MD step against the number of atoms, float32, one core."""
    points = []
    with ExitStack() as stack:
        children = []
        for n in sizes:
            child = stack.enter_context(Child(sys.executable, "ours", log))
            models = [store.ours("Si", configuration)]
            frames = store.frames(f"Si{n}")
            child.do("open", name="md", kind="MD", models=models, frames=frames, dtype="float32")
            child.do("steps", name="md", n=1)
            child.do("forget_peak")  # what packing the weights took
            children.append(child)
        for n, child, times in zip(
            sizes, children, alternate(children, "md", rounds, 0.3, warm_up=2), strict=True
        ):
            peak = child.do("search_again", name="md")["peak_MB"]
            points.append({"n_atoms": n, "ms": times.summary(), "peak_MB": peak})
    theirs = []
    models = [store.theirs("Si", configuration)]
    for n in PEER_SIZES[configuration] if sizes == SIZES else sizes[:1]:
        frames = store.frames(f"Si{n}")
        peer.do("open", name="md", kind="MD", models=models, frames=frames, dtype="float32")
        (times,) = alternate([peer], "md", 3, 0.3, warm_up=2)
        peer.do("close", name="md")
        theirs.append({"n_atoms": n, "ms": times.summary()})
    per_atom = [1e3 * point["ms"]["min"] / point["n_atoms"] for point in points]
    limits = [
        Limit(
            f"time per atom, Si {sizes[0]} to {sizes[-1]}, {configuration}: largest over smallest",
            "",
            max(per_atom) / min(per_atom),
            1.10,
            note="µs: " + ", ".join(f"{us:.1f}" for us in per_atom),
        )
    ]
    if sizes == SIZES:
        limits.append(_memory_of_large(store, configuration, log))
    return limits, {"configuration": configuration, "ours": points, MACE_TORCH: theirs}


def _memory_of_large(store: Store, configuration: str, log: Path) -> Limit:
    """Whether memory grows as the number of atoms does."""
    peaks = []
    for n in LARGE:
        with Child(sys.executable, "ours", log) as child:
            models = [store.ours("Si", configuration)]
            frames = store.frames(f"Si{n}")
            child.do("open", name="md", kind="MD", models=models, frames=frames, dtype="float32")
            child.do("steps", name="md", n=1)
            peaks.append(child.do("search_again", name="md")["peak_MB"])
    slopes = [
        1e3 * (high - low) / (m - n)
        for low, high, n, m in zip(peaks[:-1], peaks[1:], LARGE[:-1], LARGE[1:], strict=True)
    ]
    return Limit(
        f"memory per further atom, Si {LARGE[1]} to {LARGE[2]} over {LARGE[0]} to {LARGE[1]}, "
        + configuration,
        "",
        slopes[1] / slopes[0],
        1.25,
        note="kB per atom: " + ", ".join(f"{slope:.1f}" for slope in slopes),
    )


def two_processes(
    store: Store, system: str, configuration: str, log: Path, repeats: int = 3
) -> Limit:
    """Throughput of two processes on two cores over that of one, by the clock."""
    material = "Si" if system.startswith("Si") else system
    options = {
        "name": "md",
        "kind": "MD",
        "models": [store.ours(material, configuration)],
        "frames": store.frames(system),
        "dtype": "float32",
    }
    with ExitStack() as stack:
        children = [stack.enter_context(Child(sys.executable, "ours", log)) for _ in range(2)]
        for child in children:
            child.do("open", **options)
            child.do("steps", name="md", n=5)
        n = max(10, round(2.0 / (children[0].do("steps", name="md", n=5)["wall"] / 5)))
        gains = []
        for _ in range(repeats):
            alone = [child.do("steps", name="md", n=n)["wall"] for child in children]
            for child in children:
                child.tell("steps", name="md", n=n)
            together = [child.answer()["wall"] for child in children]
            gains.append(sum(1 / wall for wall in together) / statistics.mean(1 / w for w in alone))
    return Limit(
        f"two processes over one, throughput, {system} {configuration}",
        "",
        statistics.median(gains),
        1.8,
        at_least=True,
        note="of " + ", ".join(f"{gain:.2f}" for gain in gains),
    )


def many_small(
    store: Store, ours: Child, configuration: str, rounds: int, small: int = 64, large: int = 1728
) -> Limit:
    """Time per atom of many small systems in one call over that of a large one, both searched."""
    copies = large // small
    models = [store.ours("Si", configuration)]
    times = {}
    for name, frames in (
        ("large", store.frames(f"Si{large}")),
        ("small", store.frames(f"Si{small}", copies)),
    ):
        ours.do("open", name=name, kind="Batch", models=models, frames=frames, dtype="float32")
        times[name] = []
    for _ in range(rounds + 1):
        for name, found in times.items():
            found.append(ours.do("steps", name=name, n=2)["cpu"] / 2)
    for name in times:
        ours.do("close", name=name)
    assert len(atoms_of(f"Si{small}")) * copies == large
    ratio = min(times["small"][1:]) / min(times["large"][1:])
    return Limit(
        f"{copies} × Si{small} in one call over one Si{large}, {configuration}",
        "",
        ratio,
        1.10,
        note=f"{1e6 * min(times['small']) / large:.1f} and {1e6 * min(times['large']) / large:.1f} "
        "µs per atom, neighbour search included",
    )
