"""Where a label was computed, as far as its cost depends on it."""

import functools
import os
import platform
from contextlib import suppress
from pathlib import Path


@functools.cache
def processor() -> str:
    """The class of this host, e.g. ``AMD EPYC 7763 64-Core Processor, 128 cores``."""
    name = ""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = " ".join(line.partition(":")[2].split())
                break
    name = name or platform.processor() or platform.machine() or "unknown"
    return f"{name}, {os.cpu_count()} cores"
