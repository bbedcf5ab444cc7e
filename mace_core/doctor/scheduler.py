"""Whether a Snakemake profile can be used from here: programs, partitions, limits."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings, listed

#: Commands that hand a job to a queue.
_SUBMITTERS = ("sbatch", "qsub", "bsub", "condor_submit", "oarsub", "msub")

#: What Slurm's own executor needs on PATH.
_SLURM = ("sbatch", "scancel", "squeue")

_UNLIMITED = float("inf")


def look_at(profile: str | Path, config: Config, found: Findings) -> None:
    """Read a profile, and ask the scheduler that it names.

    Args:
        profile: folder with a ``config.yaml``, or that file.
        config: the campaign's; its labels have to fit into the jobs' limits.
        found: takes what is wrong, with mend.
    """
    values = _read(profile, found)
    if values is None:
        return
    executor = str(values.get("executor", "local"))
    if executor == "local":
        found.good.append(f"profile {profile}: jobs run on this machine")
    elif executor == "dryrun":
        found.problem("executor", executor, "runs nothing", "take it out of the profile")
    else:
        _executor(executor, values, profile, found)
    _limits(values, config, profile, found)


def _read(profile: str | Path, found: Findings) -> dict[str, Any] | None:
    path = Path(profile)
    if path.is_dir():
        path /= "config.yaml"
    if not path.is_file():
        found.problem(
            "--profile",
            str(profile),
            "no such profile",
            "name a folder with a config.yaml, e.g. workflow/profiles/slurm",
        )
        return None
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as err:
        where = str(getattr(err, "problem_mark", "") or "").strip()
        found.problem("--profile", str(profile), f"not YAML ({where})", "mend the file")
        return None
    if not isinstance(values, dict):
        found.problem("--profile", str(profile), "holds no settings", "mend the file")
        return None
    return values


def _executor(executor: str, values: dict, profile: str | Path, found: Findings) -> None:
    module = "snakemake_executor_plugin_" + executor.replace("-", "_")
    if find_spec(module) is None:
        package = "snakemake-executor-plugin-" + executor
        found.problem(
            "executor",
            executor,
            f"its plugin is not installed ({profile})",
            f"pip install {package}",
        )
    wanted = list(_SLURM) if executor == "slurm" else _submitters(values, Path(profile))
    missing = [name for name in wanted if shutil.which(name) is None]
    if missing:
        found.problem(
            "executor",
            executor,
            f"{listed(missing)} not on PATH: this machine cannot submit jobs",
            "start snakemake on a login node (or load the scheduler's module), or take "
            "workflow/profiles/local",
        )
    elif wanted:
        found.good.append(f"profile {profile}: {executor}, {listed(wanted)} found")
    if "sbatch" in wanted and shutil.which("sinfo"):
        _partitions(values, found)


def _submitters(values: dict, profile: Path) -> list[str]:
    """The queue's commands that a cluster-generic profile or a script beside it calls."""
    commands = [
        str(values.get(f"cluster-generic-{what}-cmd", ""))
        for what in ("submit", "status", "cancel")
    ]
    folder = profile if profile.is_dir() else profile.parent
    scripts = [folder / command for command in commands if command]
    text = " ".join([*commands, *(path.read_text() for path in scripts if path.is_file())])
    words = set(re.findall(r"[\w.-]+", text))
    return sorted(words & {*_SUBMITTERS, "scancel", "squeue", "sacct", "qdel", "qstat", "bkill"})


def _partitions(values: dict, found: Findings) -> None:
    """Whether every partition that the profile names exists, and lets jobs run as long."""
    limits = partitions()
    if limits is None:
        found.problem(
            "executor",
            "slurm",
            "sinfo does not answer",
            "see whether the cluster is up (`sinfo`), and try again",
        )
        return
    for rule, resources in _resources(values):
        name = resources.get("slurm_partition", resources.get("partition"))
        key = f"{rule}.partition"
        if name is None:
            continue
        unknown = [part for part in str(name).split(",") if part not in limits]
        if unknown:
            found.problem(
                key,
                name,
                f"no such partition; there are {listed(limits) or 'none'}",
                "name one of them in the profile",
            )
            continue
        asked = _first_number(resources.get("runtime"))
        most = max(limits[part] for part in str(name).split(","))
        if asked is not None and asked > most:
            found.problem(
                f"{rule}.runtime",
                resources["runtime"],
                f"partition {name} ends jobs after {most:g} minutes",
                "lower it, or take another partition",
            )
    found.good.append(f"partitions: {listed(limits)}")


def partitions() -> dict[str, float] | None:
    """Partition → its time limit in minutes, as ``sinfo`` says; None if it does not answer."""
    try:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%R %l"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split() for line in done.stdout.splitlines() if len(line.split()) == 2]
    return {name: _minutes(limit) for name, limit in rows}


def _minutes(limit: str) -> float:
    """Slurm's ``[days-]hours:minutes:seconds`` or ``minutes:seconds``."""
    if not limit[:1].isdigit():
        return _UNLIMITED
    days, dash, rest = limit.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        parts += [0] * (3 - len(parts))
    hours, minutes, seconds = [0] * (3 - len(parts)) + parts
    return (int(days or 0) * 24 + hours) * 60 + minutes + seconds / 60


def _resources(values: dict) -> list[tuple[str, dict]]:
    """What jobs ask for: (where it stands, resources with the defaults beneath)."""
    default = values.get("default-resources") or {}
    if not isinstance(default, dict):  # a list of name=value
        default = dict(str(item).split("=", 1) for item in default)
    rules = values.get("set-resources") or {}
    if not isinstance(rules, dict):
        rules = {}
    named = [(f"set-resources.{rule}", default | (own or {})) for rule, own in rules.items()]
    return [("default-resources", default), *named]


def _limits(values: dict, config: Config, profile: str | Path, found: Findings) -> None:
    """Whether labels fit into the memory and the time of their jobs."""
    resources = dict(_resources(values))
    default = resources["default-resources"]
    own = resources.get("set-resources.label_batch", default)
    again = resources.get("set-resources.recheck_labels", default)
    if _label_fits(own, "label", "label_batch", config, profile, found):
        _label_fits(again, "recheck", "recheck_labels", config, profile, found)
    if own.get("shell_exec") != again.get("shell_exec"):
        found.notes.append(
            f"label_batch has shell_exec {own.get('shell_exec')}, recheck_labels has "
            f"{again.get('shell_exec')} in {profile}: both run the labelling engine"
        )
    training = resources.get("set-resources.train_member", resources["default-resources"])
    gpus = _first_number(training.get("gpu", training.get("gres_gpu"))) or 0
    wants = config.train.device.startswith("cuda")
    if wants and not gpus and str(values.get("executor", "local")) != "local":
        found.notes.append(
            f"train.device: {config.train.device!r}, but train_member asks for no gpu in {profile}"
        )
    elif gpus and not wants:
        found.notes.append(
            f"train_member asks for {gpus:g} gpu in {profile}, but train.device is "
            f"{config.train.device!r}: it would stand idle"
        )


def _label_fits(
    own: dict, job: str, rule: str, config: Config, profile: str | Path, found: Findings
) -> bool:
    """Whether a job with these resources is large enough for one label."""
    memory, minutes = _first_number(own.get("mem_mb")), _first_number(own.get("runtime"))
    asked = getattr(config.labeller, "max_memory", None)
    large = memory is None or asked is None or asked <= memory
    if not large:
        found.problem(
            "labeller.max_memory",
            asked,
            f"a {job} job gets {memory:g} MB ({profile})",
            f"raise {rule}'s mem_mb in the profile, or lower labeller.max_memory",
        )
    long = minutes is None or config.labeller.time_limit / 60 <= minutes
    if not long:
        found.problem(
            "labeller.time_limit",
            config.labeller.time_limit,
            f"a {job} job ends after {minutes:g} minutes ({profile})",
            f"raise {rule}'s runtime in the profile, or lower labeller.time_limit",
        )
    return large and long


def _first_number(value: Any) -> float | None:
    """The number with which a resource begins: ``8000 * attempt`` is 8000 at the first attempt."""
    match = re.match(r"\s*([0-9]+(?:\.[0-9]+)?)", str(value)) if value is not None else None
    return float(match[1]) if match else None
