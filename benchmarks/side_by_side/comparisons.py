"""What is timed on both sides: MD, committees, training, symmetrix-xl."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from processes import Child, ChildError, alternate, differences, disagreement
from table import Row
from weights import Store, material_of

MACE_TORCH = "mace-torch"

#: (system, configuration, dtype, must, aim)
MD = [
    ("3BPA", "a", "float32", 30, 65),
    ("3BPA", "b", "float32", None, None),
    ("3BPA", "c", "float32", None, None),
    ("Si64", "a", "float32", 25, 60),
    ("Si64", "c", "float32", None, None),
    ("Si512", "c", "float32", 20, 60),
    ("3BPA", "a", "float64", None, None),
    ("3BPA", "b", "float64", None, None),
    ("3BPA", "c", "float64", None, None),
    ("Si64", "a", "float64", None, None),
    ("Si64", "c", "float64", None, None),
    ("Si512", "c", "float64", None, None),
]
COMMITTEES = [("3BPA", "a", "float32", 35, 100), ("3BPA", "c", "float32", 40, 100)]
MEMBERS = 4
#: Beyond this (eV, eV/Å; a share of losses) two sides do not compute the same. Forces are of order
#: 1 eV/Å. symmetrix-xl has coarser splines.
TOLERANCE = {"float32": 1e-3, "float64": 1e-6, "symmetrix-xl": 1e-2}
TRAINING = [("a", 10, 20), ("c", 10, 20), ("b", None, None)]
BATCH = 5
SYMMETRIX = [("c", ("3BPA", "Si64"), 1.5, 3), ("a", ("3BPA", "Si64"), 1.5, 3)]
#: Modes of symmetrix-xl that are tried: (name, back end, format of the model, options).
SYMMETRIX_MODES = [
    ("serial, pair splines, AVX-512", "cpu-avx512", "pair-splines", {"use_kokkos": False}),
    ("serial, pair splines", "cpu", "pair-splines", {"use_kokkos": False}),
    ("serial, compact", "cpu", "compact", {"use_kokkos": False}),
    (
        "compiled for the model, AVX-512",
        "cpu-avx512",
        "compact",
        {"streamed_edges": "direct", "execution_profile": "speed"},
    ),
]


@dataclass
class Comparison:
    """Two sides and how long they are timed.

    Attributes:
        ours: child of our side.
        peer: child with mace-torch.
        store: files for both.
        rounds: of each side.
        seconds: of a side in a round.
        only: rows whose name holds this.
    """

    ours: Child
    peer: Child
    store: Store
    rounds: int
    seconds: float
    only: str = ""

    def md(self, rows: list[tuple]) -> Iterator[Row]:
        """MD steps of one model."""
        for system, configuration, dtype, must, aim in rows:
            name = f"MD step, {system}, {configuration}, {dtype}"
            if self.only in name:
                yield self._md(name, system, configuration, dtype, 1, must, aim)

    def committees(self) -> Iterator[Row]:
        """MD steps of a committee, with mean and spread of the forces."""
        for system, configuration, dtype, must, aim in COMMITTEES:
            name = f"committee of {MEMBERS}, {system}, {configuration}, {dtype}"
            if self.only in name:
                yield self._md(name, system, configuration, dtype, MEMBERS, must, aim)

    def _md(self, name, system, configuration, dtype, members, must, aim) -> Row:
        own = [(material_of(system), configuration, seed) for seed in range(members)]
        options = {"kind": "MD", "frames": self.store.frames(system), "dtype": dtype}
        self.ours.do("open", name=name, models=[self.store.ours(*m) for m in own], **options)
        self.peer.do("open", name=name, models=[self.store.theirs(*m) for m in own], **options)
        return self._row(name, [self.ours, self.peer], MACE_TORCH, must, aim)

    def training(self, frames: Path, rows: list[tuple]) -> Iterator[Row]:
        """Training steps: batch, energies, forces, loss, gradients, optimiser, average."""
        for configuration, must, aim in rows:
            name = f"training step, {BATCH} × 3BPA, {configuration}, float32"
            if self.only not in name:
                continue
            options = {
                "kind": "Training",
                "frames": self.store.training_frames(frames),
                "dtype": "float32",
                "batch_size": BATCH,
            }
            model = ("3BPA", configuration)
            self.ours.do("open", name=name, models=[self.store.ours(*model)], **options)
            self.peer.do("open", name=name, models=[self.store.theirs(*model)], **options)
            yield self._row(name, [self.ours, self.peer], MACE_TORCH, must, aim)

    def symmetrix(self, python: str, log: Path) -> Iterator[Row]:
        """MD steps beside the best mode of symmetrix-xl, float64."""
        for configuration, systems, must, aim in SYMMETRIX:
            names = {s: f"MD step, {s}, {configuration}, float64" for s in systems}
            if not any(self.only in f"{name}, symmetrix-xl" for name in names.values()):
                continue
            with ExitStack() as stack:
                try:
                    mode, child, note = self._best_mode(python, log, configuration, stack)
                except ChildError as err:
                    for name in names.values():
                        yield Row(
                            name,
                            "symmetrix-xl",
                            None,
                            None,
                            must,
                            aim,
                            note=f"it cannot run: {err}",
                        )
                    continue
                for system, name in names.items():
                    own = f"{name}, symmetrix-xl"
                    self.ours.do(
                        "open",
                        name=own,
                        kind="MD",
                        models=[self.store.ours(material_of(system), configuration)],
                        frames=self.store.frames(system),
                        dtype="float64",
                    )
                    self._open_symmetrix(child, own, system, configuration, mode)
                    row = self._row(own, [self.ours, child], "symmetrix-xl", must, aim, note)
                    yield row

    def _best_mode(self, python: str, log: Path, configuration: str, stack: ExitStack):
        """The fastest mode for 3BPA, a child that runs it, and the times of all."""
        found, failures = [], []
        for mode in SYMMETRIX_MODES:
            name, backend, _, _ = mode
            child = Child(
                python,
                "symmetrix_xl",
                log,
                {
                    "SYMMETRIX_BACKEND": backend,
                    "SYMMETRIX_JIT_CACHE": str(self.store.folder / "symmetrix"),
                },
            )
            stack.callback(child.end)
            try:
                self._open_symmetrix(child, "probe", "3BPA", configuration, mode)
                (times,) = alternate([child], "probe", rounds=4, seconds=0.05)
                child.do("close", name="probe")
                found.append((min(times.cpu), mode, child))
            except ChildError as err:
                failures.append(f"{name}: {err}")
        if not found:
            raise ChildError("; ".join(failures))
        best = min(found, key=lambda one: one[0])
        note = "best of " + "; ".join(f"{mode[0]} {ms:.1f} ms" for ms, mode, _ in found)
        return best[1], best[2], note

    def _open_symmetrix(self, child, name, system, configuration, mode) -> None:
        _, _, radial_format, options = mode
        child.do(
            "open",
            name=name,
            kind="MD",
            model=self.store.symmetrix(material_of(system), configuration, radial_format, child),
            frames=self.store.frames(system),
            options={"dtype": "float64", **options},
        )

    def _row(self, name, sides, peer, must, aim, note="") -> Row:
        """Compare, time in turn, close."""
        found = differences(*(side.do("check", name=name) for side in sides))
        wrong = disagreement(found, TOLERANCE[peer if peer in TOLERANCE else _precision(name)])
        times = None, None
        if wrong:
            # What is not the same function is not worth timing; NaN is no JSON.
            found = {key: value for key, value in found.items() if math.isfinite(value)}
            wrong = f"the two sides disagree: {wrong}"
        else:
            times = [t.summary() for t in alternate(sides, name, self.rounds, self.seconds)]
        for side in sides:
            side.do("close", name=name)
        return Row(name.removesuffix(f", {peer}"), peer, *times, must, aim, found, note, wrong)


def _precision(name: str) -> str:
    return "float64" if "float64" in name else "float32"
