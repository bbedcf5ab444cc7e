"""How far a batch of labels has come, for whoever waits for it."""

import sys
import time
from collections import Counter

from mace_core.conventions import LabelStatus
from mace_core.label.run import Labelled

INTERVAL = 5.0  # seconds between lines


class Progress:
    """A line on stdout every :data:`INTERVAL` seconds, and a bar on stderr if it is a terminal."""

    def __init__(self, title: str):
        self.title = title
        self._started = time.monotonic()
        self._next = self._started + INTERVAL
        self._bar = self._task = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self.title, total=None)
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: list[Labelled], total: int) -> None:
        """Say where it stands, if it is time to."""
        if self._bar is not None:
            self._bar.update(self._task, completed=len(done), total=total)
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + INTERVAL
            print(self.line(done, total), flush=True)

    def line(self, done: list[Labelled], total: int) -> str:
        """E.g. ``label · 5/8 frames · 2 from the store · 1 timeout · 32 s``."""
        counts = Counter(str(outcome.record.status) for outcome in done)
        counts.pop(str(LabelStatus.CONVERGED), None)
        stored = sum(not outcome.computed for outcome in done)
        parts = [self.title, f"{len(done)}/{total} frames"]
        parts += [f"{stored} from the store"] if stored else []
        parts += [f"{n} {status}" for status, n in sorted(counts.items())]
        return " · ".join([*parts, f"{time.monotonic() - self._started:.0f} s"])
