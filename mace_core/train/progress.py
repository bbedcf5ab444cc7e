"""What a person sees of a training: a bar on a terminal, a line now and then elsewhere."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

#: Seconds between lines.
INTERVAL = 5.0


class TrainingProgress:
    """Shows epochs as they end: a rich bar if stderr is a terminal, else lines on stdout.

    Args:
        name: which training, e.g. ``gen 2 · member 1``.
        epochs: at most.
    """

    def __init__(self, name: str, epochs: int):
        self.name, self.epochs = name, epochs
        self.last_line = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[errors]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.task = self.bar.add_task(name, total=epochs, errors="")

    def __enter__(self) -> "TrainingProgress":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *exception) -> None:
        if self.bar:
            self.bar.stop()

    def evaluated(self, epoch: int, forces_mae: float, seconds: float) -> None:
        """An evaluation after ``epoch`` epochs gave this held-out force error (eV/Å)."""
        errors = f"valid F {1000 * forces_mae:.0f} meV/Å"
        if self.bar:
            self.bar.update(self.task, completed=epoch, errors=errors)
        elif time.monotonic() - self.last_line >= INTERVAL:
            self.last_line = time.monotonic()
            line = f"{self.name} · epoch {epoch}/{self.epochs} · {errors} · {seconds:.0f} s"
            print(line, flush=True)
