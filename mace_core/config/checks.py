"""What can be known to be wrong before any compute: all of it, in one message.

Files are read with the readers of the run, and the engine is asked by the labelling worker itself, so
that what passes here is what the run will meet. No torch.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.neighborlist import natural_cutoffs, neighbor_list

from mace_core.config.campaign import Config
from mace_core.config.labellers import LabellerBase
from mace_core.conventions import CHARGE, SPIN
from mace_core.errors import UserError
from mace_core.label.isolated import ground_state_spin, isolated_atoms, knows_spin
from mace_core.label.run import check_engine
from mace_core.label.theory import engine_version, theory_id
from mace_core.seed.structures import read_structures
from mace_core.storage import sha256_file
from mace_core.train.labelled import frames_keys, is_isolated_atom

#: Stores that MLflow 3 takes; it refuses plain folders.
_TRACKING = ("sqlite:", "postgresql", "mysql", "mssql", "http:", "https:", "databricks")

#: Arrays of three columns that are no forces.
_NOT_FORCES = {"positions", "momenta", "velocities", "initial_magmoms"}


@dataclass
class Findings:
    """What the checks found.

    Attributes:
        problems: key, value and mend of what must be changed.
        notes: what may be meant so.
        good: what was looked at and is right.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    good: list[str] = field(default_factory=list)

    def problem(self, key: str, value: object, wrong: str, mend: str) -> None:
        self.problems.append(f"{key}: {value!r}: {wrong}\n    mend: {mend}")


@dataclass
class _Frames:
    """What the configuration's files hold."""

    structures: list[tuple[str, Atoms]] = field(default_factory=list)  # with the file's name
    labelled: set[str] = field(default_factory=set)  # elements of first frames
    isolated: set[str] = field(default_factory=set)  # elements with a labelled free atom
    frozen: set[str] = field(default_factory=set)  # elements of the first frame

    @property
    def trained(self) -> set[str]:
        """Elements that will be trained on, as far as first frames tell."""
        return {str(s) for _, atoms in self.structures for s in atoms.symbols} | self.labelled


def check(config: Config, base: str | Path = ".") -> Findings:
    """Everything that can be known to be wrong with a campaign before it runs; a second or two.

    Args:
        config: the campaign's.
        base: folder that relative paths start from.

    Returns:
        Notes, and what is right.

    Raises:
        UserError: all problems at once, each with key, value and mend.
    """
    found, frames, base = Findings(), _Frames(), Path(base)
    _structures(config, base, found, frames)
    _labelled(config, base, found, frames)
    _seed_options(config, found, frames)
    _engine(config, found, frames)
    _electrons(config, found, frames)
    _e0s(config, found, frames)
    _model(config, found, frames)
    _numbers(config, found)
    _device(config, found)
    _places(config, base, found)
    _budget(config, found, frames)
    if found.problems:
        n = len(found.problems)
        raise UserError(
            f"{n} problem{'s' if n > 1 else ''} in the configuration:\n"
            + "\n".join(f"  - {problem}" for problem in found.problems)
        )
    return found


def _structures(config: Config, base: Path, found: Findings, frames: _Frames) -> None:
    for k, path in enumerate(config.seed.structures):
        key = f"seed.structures.{k}"
        try:
            read = read_structures(base / path, config.seed.charge, config.seed.spin)
        except UserError as err:
            found.problem(key, path, err.what, err.mend or "give an ordered structure")
            continue
        frames.structures += [(path, atoms) for atoms in read]
        formulas = sorted({atoms.get_chemical_formula() for atoms in read})
        found.good.append(f"structure {path}: {len(read)} frame(s) of {', '.join(formulas[:4])}")
        for atoms in read:
            wrong = _close_contact(atoms, config.explore.min_distance_factor)
            if wrong:
                found.problem(
                    key, path, wrong, "mend the structure, or lower explore.min_distance_factor"
                )
            if atoms.pbc.all() and abs(atoms.cell.volume) < 1e-6:
                found.problem(key, path, "periodic, but its cell has no volume", "give a cell")


def _close_contact(atoms: Atoms, factor: float) -> str | None:
    # As mace_core.contacts says it, whose neighbour list brings torch.
    i, j, distance = neighbor_list("ijd", atoms, natural_cutoffs(atoms, mult=factor))
    if not len(distance):
        return None
    k = distance.argmin()
    return (
        f"atoms {i[k]} ({atoms.symbols[i[k]]}) and {j[k]} ({atoms.symbols[j[k]]}) are {distance[k]:.2f} Å "
        "apart"
    )


def _labelled(config: Config, base: Path, found: Findings, frames: _Frames) -> None:
    data = config.data
    hashes = {}
    for key, path, elements in (
        *((f"data.labelled.{k}", path, frames.labelled) for k, path in enumerate(data.labelled)),
        *([("data.frozen_test", data.frozen_test, frames.frozen)] if data.frozen_test else []),
    ):
        atoms = _first_frame(key, path, base, found)
        if atoms is None:
            continue
        digest = sha256_file(base / path)
        if digest in hashes:
            mend = "take one of them out" + (
                ": a test set that trains tests nothing" if key == "data.frozen_test" else ""
            )
            found.problem(key, path, f"the same content as {hashes[digest]}", mend)
        hashes[digest] = key
        elements |= {str(s) for s in atoms.symbols}
        carried = set(frames_keys([atoms]))
        _label_keys(config, key, path, atoms, carried, found)
        found.good.append(f"{key} {path}: {', '.join(sorted(carried & _keys(data)))}")
        if data.E0s == "isolated" and elements is frames.labelled:
            frames.isolated |= set(_isolated_in(base / path))


def _label_keys(
    config: Config, key: str, path: str, atoms: Atoms, carried: set[str], found: Findings
) -> None:
    """Whether a frame has labels under the names given; one kind may be missing."""
    data = config.data
    missing = [o for o in ("energy_key", "forces_key") if getattr(data, o) not in carried]
    for option in missing:
        name = getattr(data, option)
        if option == "forces_key" and is_isolated_atom(atoms):
            continue
        if len(missing) == 2 or _other_name(option, atoms, _keys(data)):
            found.problem(
                key,
                path,
                f"its first frame has no {name!r} (it has {_list(carried) or 'no labels'})",
                f"set data.{option} to the name that the file uses",
            )
        else:
            found.notes.append(
                f"{key}: {path!r}: its first frame has no {name!r}: it weighs nothing"
            )


def _other_name(option: str, atoms: Atoms, known: set[str]) -> bool:
    """Whether a frame seems to have this kind of label under another name."""
    everything = {**atoms.info, **atoms.arrays, **(atoms.calc.results if atoms.calc else {})}
    others = {k: v for k, v in everything.items() if k not in known | _NOT_FORCES}
    if option == "energy_key":
        return any("energ" in name.lower() for name in others)
    return any(np.shape(value) == (len(atoms), 3) for value in others.values())


def _keys(data) -> set[str]:
    return {data.energy_key, data.forces_key, data.stress_key}


def _first_frame(key: str, path: str, base: Path, found: Findings) -> Atoms | None:
    from mace_core.frames import read_frames

    if not (base / path).is_file():
        found.problem(
            key, path, "no such file", "check the path; it starts from the working folder"
        )
        return None
    try:
        read = read_frames(base / path, "0:1")
    except UserError as err:
        found.problem(key, path, err.what, "give an extxyz file")
        return None
    if not read or not len(read[0]):
        found.problem(key, path, "holds no frame", "take it out of the configuration")
        return None
    return read[0]


def _isolated_in(path: Path) -> Iterator[str]:
    """Elements of the free atoms in an extxyz file, read as text: it may hold many frames."""
    with open(path, encoding="utf-8", errors="replace") as handle:
        while line := handle.readline():
            size = int(line) if line.strip().isdigit() else 0
            comment = handle.readline()
            atoms = [handle.readline() for _ in range(size)]
            if size == 1 and "IsolatedAtom" in comment and atoms[0].split():
                yield atoms[0].split()[0]


def _seed_options(config: Config, found: Findings, frames: _Frames) -> None:
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
            if not _is_element(element):
                found.problem(
                    f"seed.substitutions.{k}.{key}",
                    element,
                    "no chemical element",
                    "mend the symbol",
                )
        if _is_element(rule.element) and rule.element not in present:
            found.problem(
                f"seed.substitutions.{k}.element",
                rule.element,
                f"no periodic structure has it (they have {', '.join(sorted(present))})",
                "name an element that is there",
            )


def _engine(config: Config, found: Findings, frames: _Frames) -> None:
    elements = {e for e in frames.trained if _is_element(e)}
    elements |= {rule.by for rule in config.seed.substitutions if _is_element(rule.by)}
    engines = [("labeller", config.labeller)]
    if config.seed.md:
        engines.append(("seed.md.labeller", config.seed.md.labeller))
    for key, settings in engines:
        try:
            check_engine(settings, elements)
        except UserError as err:
            said = err.what.removeprefix("labeller.")
            found.problem(f"{key}.engine", settings.engine, said, err.mend or "take another engine")
        else:
            found.good.append(f"{key}: {settings.engine} ({engine_version(settings)})")
        _fits(key, settings, found, frames)
    for element in config.labeller.spins:
        if not _is_element(element):
            found.problem("labeller.spins", element, "no chemical element", "mend the symbol")
        elif (atomic_numbers[element] - config.labeller.spins[element]) % 2:
            found.problem(
                f"labeller.spins.{element}",
                config.labeller.spins[element],
                f"a free atom with {atomic_numbers[element]} electrons cannot have it",
                f"give N(up) − N(down), e.g. {ground_state_spin(element)}",
            )


def _fits(key: str, settings: LabellerBase, found: Findings, frames: _Frames) -> None:
    """Whether an engine can label the structures' kind: periodicity, charge, spin."""
    for path, atoms in frames.structures:
        mixed = atoms.pbc.any() and not atoms.pbc.all()
        if settings.engine == "pyscf" and atoms.pbc.any():
            found.problem(
                f"{key}.engine",
                "pyscf",
                f"{path} is periodic, and PySCF labels molecules only",
                "take another engine for crystals (tblite, or ase with a plane-wave code), or take "
                "the cell out of the file",
            )
        elif settings.engine == "tblite" and mixed:
            found.problem(
                f"{key}.engine",
                "tblite",
                f"{path} is periodic in part, and tblite labels molecules and crystals",
                "make it periodic in three directions or in none",
            )
        for name in (CHARGE, SPIN):
            if atoms.info[name] and not _knows(settings, name):
                found.problem(
                    f"seed.{name}",
                    atoms.info[name],
                    f"{path} has it, and {settings.engine} does not know of {name}",
                    f"take it out, or take an engine that does (ase: write ${name} into {key}.kwargs)",
                )


def _knows(settings: LabellerBase, name: str) -> bool:
    if settings.engine == "ase" and name == CHARGE:
        from mace_core.label.engines.ase_calculator import mentioned

        return "$charge" in mentioned(settings.kwargs)
    return knows_spin(settings)


def _electrons(config: Config, found: Findings, frames: _Frames) -> None:
    if config.labeller.engine not in ("pyscf", "tblite"):
        return
    for path, atoms in frames.structures:
        electrons = int(atoms.numbers.sum()) - atoms.info[CHARGE]
        spin = atoms.info[SPIN]
        if (electrons - spin) % 2 or spin > electrons:
            found.problem(
                "seed.spin",
                spin,
                f"{path} has {electrons} electrons (charge {atoms.info[CHARGE]}), which cannot have it",
                f"set seed.spin to {electrons % 2} (or seed.charge), or charge and spin in the file's info",
            )


def _e0s(config: Config, found: Findings, frames: _Frames) -> None:
    e0s, trained = config.data.E0s, frames.trained
    trained |= {rule.by for rule in config.seed.substitutions}
    if isinstance(e0s, str):
        source = {"isolated": "free atoms, by the campaign's engine", "average": "least squares"}
        if e0s == "isolated":
            needed = {e for e in trained - frames.isolated if _is_element(e)}
            try:
                isolated_atoms(needed, config.labeller)
            except UserError as err:
                found.problem(
                    "data.E0s", e0s, err.what, err.mend or "give data.E0s in eV by element"
                )
                return
        found.good.append(f"E0s of {_list(trained) or 'no element yet'}: {source[e0s]}")
    else:
        for element in e0s:
            if not _is_element(element):
                found.problem("data.E0s", element, "no chemical element", "mend the symbol")
        missing = _list((trained | frames.frozen) - set(e0s))
        if missing:
            found.problem(
                "data.E0s",
                dict(e0s),
                f"no energy for {missing}",
                f"add {missing}, in eV: {{…, {missing}: …}}",
            )
        else:
            found.good.append(f"E0s of {_list(e0s)}: given in the configuration")
    unknown = frames.frozen - trained
    if unknown and trained:
        found.problem(
            "data.frozen_test",
            config.data.frozen_test,
            f"has {_list(unknown)}, and nothing that trains has",
            "take these frames out, or add structures or labelled data with the element",
        )


def _model(config: Config, found: Findings, frames: _Frames) -> None:
    irreps = config.model.MLP_irreps
    terms = [term.strip() for term in irreps.split("+")]
    if not all(_is_scalars(term) for term in terms):
        found.problem("model.MLP_irreps", irreps, "not a sum of invariants", "write e.g. 16x0e")
    if any(width < 1 for width in config.model.radial_MLP):
        found.problem(
            "model.radial_MLP",
            config.model.radial_MLP,
            "a width below 1",
            "write e.g. [64, 64, 64]",
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


def _numbers(config: Config, found: Findings) -> None:
    for key, values in (
        ("seed.rattle_std", config.seed.rattle_std),
        ("explore.temperatures", config.explore.temperatures),
    ):
        if min(values) <= 0:
            found.problem(key, values, "has a value that is not above 0", "take it out")
    n, most = config.explore.walkers, len(config.explore.temperatures)
    if n < most:
        found.notes.append(
            f"explore.walkers: {n}: fewer than explore.temperatures: {_list(config.explore.temperatures[n:])} K "
            "will not be visited"
        )


def _device(config: Config, found: Findings) -> None:
    device = config.train.device
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        found.problem("train.device", device, "not a device", "write cpu, cuda, cuda:0 or mps")
    elif kind == "cuda" and not _torch_has_cuda():
        found.problem(
            "train.device",
            device,
            "the installed torch was built without CUDA",
            "install a CUDA build of torch, or set train.device to cpu",
        )
    elif kind == "cuda" and not any(Path("/dev").glob("nvidia[0-9]*")):
        found.notes.append(
            f"train.device: {device!r}: this machine has no GPU; right only if the jobs run where one is"
        )
    elif kind == "mps" and sys.platform != "darwin":
        found.problem("train.device", device, "only macOS has it", "set train.device to cpu")
    else:
        found.good.append(f"device: {device}")


def _torch_has_cuda() -> bool:
    """What torch's version file says; importing torch would take seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    said: dict[str, object] = {}
    exec((Path(spec.origin).parent / "version.py").read_text(), said)
    return bool(said.get("cuda") or said.get("hip"))


def _places(config: Config, base: Path, found: Findings) -> None:
    campaign = config.campaign
    results, store = base / campaign.results_dir, base / campaign.label_store
    for key, path in (("results_dir", results), ("label_store", store)):
        value = getattr(campaign, key)
        if path.exists() and not path.is_dir():
            found.problem(f"campaign.{key}", value, "is a file", "name a folder")
            continue
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        if not os.access(there, os.W_OK):
            found.problem(
                f"campaign.{key}", value, f"{there} is not writable", "name another folder"
            )
    if store.resolve().is_relative_to((results / campaign.name).resolve()):
        found.problem(
            "campaign.label_store",
            campaign.label_store,
            "lies in the campaign's results, which may be thrown away; labels never are",
            "name a folder outside of results_dir, e.g. labels",
        )
    uri = config.tracking.uri
    if not config.tracking.enabled:
        found.good.append("tracking: off")
    elif not uri.startswith(_TRACKING):
        found.problem(
            "tracking.uri",
            uri,
            "MLflow takes a database or a server, no plain folder",
            "write e.g. sqlite:///mlflow.db, or http://host:5000",
        )
    elif find_spec("mlflow") is None:
        found.problem("tracking.enabled", True, "mlflow is not installed", "pip install mlflow")
    else:
        found.good.append(f"tracking: {uri}")


def _budget(config: Config, found: Findings, frames: _Frames) -> None:
    seed, stop = config.seed, config.stop
    first = len(frames.structures)
    if frames.structures:
        first += seed.n_frames + (seed.md.n_frames if seed.md else 0)
        first += seed.vacancies + len(seed.substitutions)
    if config.data.E0s == "isolated":
        first += len(frames.trained)
    later = config.select.max_frames + config.select.audit_frames
    if first + later > stop.max_labels:
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
            f"this campaign cannot end converged: stop.streak {stop.streak}, stop.min_audit_frames "
            f"{stop.min_audit_frames}, but campaign.max_generations {most} with select.audit_frames "
            f"{config.select.audit_frames}"
        )


def doctor(config: Config, base: str | Path = ".") -> list[str]:
    """The checks' findings as lines to print; raises :class:`UserError` as :func:`check` does."""
    found = check(config, base)
    lines = [f"ok    {line}" for line in found.good]
    lines.append(f"ok    level of theory {theory_id(config.labeller)}")
    return [*lines, *(f"note  {line}" for line in found.notes)]


def _is_element(symbol: str) -> bool:
    return symbol in chemical_symbols[1:]


def _list(values: Iterable) -> str:
    return ", ".join(str(value) for value in sorted(values))
