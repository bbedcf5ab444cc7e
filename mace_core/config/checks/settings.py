"""Settings that are right one by one and wrong together, or on this machine."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

from ase.neighborlist import neighbor_list

from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings, Frames, is_element, listed
from mace_core.layout import Layout


def seed_options(config: Config, found: Findings, frames: Frames) -> None:
    """Options that need a crystal, or an element that is there."""
    seed = config.seed
    if not frames.structures:
        return
    crystals = [atoms for _, atoms in frames.structures if atoms.pbc.any()]
    if not crystals:
        for key in ("vacancies", "substitutions"):
            if getattr(seed, key):
                value = getattr(seed, key)
                shown = value if key == "vacancies" else [f"{s.element} by {s.by}" for s in value]
                found.problem(
                    f"seed.{key}",
                    shown,
                    "needs a periodic structure",
                    "take it out, or give a crystal",
                )
        if seed.supercell != (1, 1, 1):
            found.problem(
                "seed.supercell",
                list(seed.supercell),
                "no structure is periodic",
                "take it out, or give a crystal",
            )
        return
    present = {str(s) for atoms in crystals for s in atoms.symbols}
    for k, rule in enumerate(seed.substitutions):
        for key, element in (("element", rule.element), ("by", rule.by)):
            if not is_element(element):
                found.problem(
                    f"seed.substitutions.{k}.{key}",
                    element,
                    "no chemical element",
                    "mend the symbol",
                )
        if is_element(rule.element) and rule.element not in present:
            found.problem(
                f"seed.substitutions.{k}.element",
                rule.element,
                f"no periodic structure has it (they have {', '.join(sorted(present))})",
                "name an element that is there",
            )


def model(config: Config, found: Findings, frames: Frames) -> None:
    """Whether the architecture can be built, and sees a neighbour."""
    irreps = config.model.MLP_irreps
    terms = [term.strip() for term in irreps.split("+")]
    if not all(_is_scalars(term) for term in terms):
        found.problem("model.MLP_irreps", irreps, "not a sum of invariants", "write e.g. 16x0e")
    if any(width < 1 for width in config.model.radial_MLP):
        found.problem(
            "model.radial_MLP",
            config.model.radial_MLP,
            "a width below 1",
            "write e.g. [16]",
        )
    for path, atoms in frames.structures:
        if len(atoms) > 1 and not len(neighbor_list("i", atoms, config.model.r_max)):
            found.problem(
                "model.r_max",
                config.model.r_max,
                f"no two atoms of {path} are nearer than that",
                "raise it: 4 to 6 Å is usual",
            )


def _is_scalars(term: str) -> bool:
    number, x, irrep = term.rpartition("x")
    return irrep.strip() == "0e" and (not x or (number.strip().isdigit() and int(number) > 0))


def numbers(config: Config, found: Findings) -> None:
    """Lists whose single values have bounds."""
    for key, values in (
        ("seed.rattle_std", config.seed.rattle_std),
        ("explore.temperatures", config.explore.temperatures),
    ):
        if min(values) <= 0:
            found.problem(key, values, "has a value that is not above 0", "take it out")
    n, most = config.explore.walkers, len(config.explore.temperatures)
    if n < most:
        found.notes.append(
            f"explore.walkers: {n}: fewer than explore.temperatures: "
            f"{listed(config.explore.temperatures[n:])} K will not be visited"
        )


def device(config: Config, found: Findings) -> None:
    """Whether torch can have the device; jobs may run on another machine than this one."""
    name = config.train.device
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        found.problem("train.device", name, "not a device", "write cpu, cuda, cuda:0 or mps")
    elif kind == "cuda" and not _torch_has_cuda():
        found.problem(
            "train.device",
            name,
            "the installed torch was built without CUDA",
            "install a CUDA build of torch, or set train.device to cpu",
        )
    elif kind == "cuda" and not any(Path("/dev").glob("nvidia[0-9]*")):
        found.notes.append(
            f"train.device: {name!r}: this machine has no GPU; right only if the jobs run where "
            "one is"
        )
    elif kind == "mps" and sys.platform != "darwin":
        found.problem("train.device", name, "only macOS has it", "set train.device to cpu")
    else:
        found.good.append(f"device: {name}")


def _torch_has_cuda() -> bool:
    """What torch's version file says; importing torch would take seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = (Path(spec.origin).parent / "version.py").read_text()
    return re.search(r"^(cuda|hip)\b.*= *['\"]", text, re.MULTILINE) is not None


def budget(config: Config, base: Path, found: Findings, frames: Frames) -> None:
    """Whether the labels can reach a first model, and the statistics an end."""
    seed, stop = config.seed, config.stop
    first = len(frames.structures)
    if frames.structures:
        first += seed.n_frames + (seed.md.n_frames if seed.md else 0)
        first += seed.vacancies + len(seed.substitutions)
    if config.data.E0s == "isolated":
        first += len(frames.trained)
    later = config.select.max_frames + config.select.audit_frames
    started = Layout(base / config.campaign.results_dir, config.campaign.name).plan(0).is_file()
    if first + later > stop.max_labels and not started:
        found.problem(
            "stop.max_labels",
            stop.max_labels,
            f"generation 0 needs about {first} label calls and the next one up to {later}",
            f"raise it to at least {first + later}, or lower seed.n_frames or select.max_frames",
        )
    most = config.campaign.max_generations
    reachable = most * config.select.audit_frames
    if stop.streak > most or stop.min_audit_frames > reachable:
        found.notes.append(
            f"this campaign cannot end converged: stop.streak {stop.streak}, "
            f"stop.min_audit_frames {stop.min_audit_frames}, but campaign.max_generations {most} "
            f"with select.audit_frames {config.select.audit_frames}"
        )
