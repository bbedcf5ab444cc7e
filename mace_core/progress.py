"""Progress of long work: a line on stdout now and then, a bar on a terminal's stderr."""

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

#: Seconds between two lines of one job; several run at once.
INTERVAL = 15.0


class Progress:
    """Shows how far a piece of work has come; a context manager.

    Args:
        title: what is done, for example ``gen 2 · walker 1 · 500K``.
        total: steps of the whole.
        unit: what one of them is called.
    """

    def __init__(self, title: str, total: int, unit: str = "step"):
        self.title, self.total, self.unit = title, total, unit
        self._start = self._last = time.monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(title, total=total)

    def __enter__(self) -> "Progress":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        if self._bar:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def update(self, done: int, details: str | Callable[[], str] = "") -> None:
        """Say that ``done`` steps are behind; prints at most one line every few seconds.

        Details that take long to gather are given as a function, called only for a line.
        """
        if self._bar:
            self._bar.update(self._task, completed=done)
        now = time.monotonic()
        if now - self._last < INTERVAL:
            return
        self._last = now
        self.line(f"{self.unit} {done}/{self.total}", details() if callable(details) else details)

    def line(self, *parts: str) -> None:
        """Print one line now."""
        shown = [self.title, *(part for part in parts if part), f"{self.seconds:.0f} s"]
        print(" · ".join(shown), flush=True)
