"""What this machine has: cores, and memory for as many labels at once."""

import os

import psutil

from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def busy() -> str | None:
    """A note where other work makes what is timed here too slow."""
    try:
        load = os.getloadavg()[0]
    except OSError:
        return None
    if load < 0.5 * cores():
        return None
    return (
        f"this machine is at work already (load {load:.1f}, {cores()} cores): what is timed now is "
        "slower than it will be"
    )


def total_memory() -> float:
    """Bytes of this machine."""
    return float(psutil.virtual_memory().total)


def memory(config: Config, n_cores: int, found: Findings) -> None:
    """Whether the labeller's ``max_memory`` fits into this machine, once and on every core."""
    asked = getattr(config.labeller, "max_memory", None)
    if asked is None:
        return
    has = total_memory() / 1e6
    at_once = min(n_cores, config.n_label_batches)
    if asked > has:
        found.problem(
            "labeller.max_memory",
            asked,
            f"this machine has {has:.0f} MB",
            f"lower it to {int(0.8 * has)} or less, or label on another machine (a cluster's "
            "profile)",
        )
    elif asked * at_once > has:
        found.notes.append(
            f"labeller.max_memory: {asked}: {at_once} labels at once may need "
            f"{asked * at_once} MB, this machine has {has:.0f} MB: lower it, or use fewer cores"
        )
    else:
        found.good.append(f"memory: {has:.0f} MB, {at_once} labels at once may use {asked} MB each")


def too_large(peak: float, n_cores: int, what: str) -> str | None:
    """A note where ``n_cores`` jobs of ``peak`` bytes each do not fit into this machine."""
    has = total_memory()
    if peak * n_cores <= has:
        return None
    return (
        f"{what} used {peak / 1e9:.1f} GB; {n_cores} at once do not fit into {has / 1e9:.1f} GB: "
        "run on fewer cores, or set mem_mb in the profile"
    )
