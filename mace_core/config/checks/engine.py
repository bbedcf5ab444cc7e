"""The engine and the elements: installed, able to label these structures, an E0 for each."""

from ase.data import atomic_numbers

from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings, Frames, is_element, listed
from mace_core.config.labellers import LabellerBase
from mace_core.conventions import CHARGE, SPIN
from mace_core.errors import UserError
from mace_core.label.isolated import ground_state_spin, isolated_atoms
from mace_core.label.start import check_engine
from mace_core.label.theory import engine_version


def engine(config: Config, found: Findings, frames: Frames) -> None:
    """Installed, willing, and right for the structures; the worker that labels is asked."""
    elements = {e for e in frames.trained if is_element(e)}
    elements |= {rule.by for rule in config.seed.substitutions if is_element(rule.by)}
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
        if not is_element(element):
            found.problem("labeller.spins", element, "no chemical element", "mend the symbol")
        elif (atomic_numbers[element] - config.labeller.spins[element]) % 2:
            found.problem(
                f"labeller.spins.{element}",
                config.labeller.spins[element],
                f"a free atom with {atomic_numbers[element]} electrons cannot have it",
                f"give N(up) − N(down), e.g. {ground_state_spin(element)}",
            )


def _fits(key: str, settings: LabellerBase, found: Findings, frames: Frames) -> None:
    """Whether an engine can label the structures' kind: periodicity, charge, spin."""
    for path, atoms in frames.structures:
        kind = "full" if atoms.pbc.all() else "partial" if atoms.pbc.any() else "none"
        if kind not in settings.PERIODICITY:
            found.problem(f"{key}.engine", settings.engine, *_other_kind(path, kind, settings))
        for name, known in ((CHARGE, settings.knows_charge), (SPIN, settings.knows_spin)):
            if atoms.info[name] and not known:
                found.problem(
                    f"seed.{name}",
                    atoms.info[name],
                    f"{path} has it, and {settings.engine} does not know of {name}",
                    f"take it out, or an engine that does (ase: write ${name} into {key}.kwargs)",
                )


_KINDS = {
    "none": ("is a molecule", "molecules"),
    "partial": ("is periodic in part", "slabs and wires"),
    "full": ("is periodic", "crystals"),
}


def _other_kind(path: str, kind: str, settings: LabellerBase) -> tuple[str, str]:
    """What is wrong, and how to mend it."""
    labelled = " and ".join(_KINDS[k][1] for k in _KINDS if k in settings.PERIODICITY)
    only = " only" if len(settings.PERIODICITY) == 1 else ""
    mend = {
        "none": "give it a cell with vacuum around, or take another engine for molecules",
        "partial": "make it periodic in three directions or in none",
        "full": "take another engine for crystals, or take the cell out of the file",
    }
    return f"{path} {_KINDS[kind][0]}, and {settings.engine} labels {labelled}{only}", mend[kind]


def electrons(config: Config, found: Findings, frames: Frames) -> None:
    """Whether charge and spin go with the number of electrons."""
    if not config.labeller.counts_electrons:
        return
    for path, atoms in frames.structures:
        n = int(atoms.numbers.sum()) - atoms.info[CHARGE]
        spin = atoms.info[SPIN]
        if (n - spin) % 2 or spin > n:
            found.problem(
                "seed.spin",
                spin,
                f"{path} has {n} electrons (charge {atoms.info[CHARGE]}), which cannot have it",
                f"set seed.spin to {n % 2} (or seed.charge), or charge and spin in the file's info",
            )


def e0s(config: Config, found: Findings, frames: Frames) -> None:
    """Whether every element will have an E0."""
    given, trained = config.data.E0s, frames.trained
    trained |= {rule.by for rule in config.seed.substitutions}
    if isinstance(given, str):
        source = {"isolated": "free atoms, by the campaign's engine", "average": "least squares"}
        if given == "isolated":
            needed = {e for e in trained - frames.isolated if is_element(e)}
            try:
                isolated_atoms(needed, config.labeller)
            except UserError as err:
                found.problem(
                    "data.E0s", given, err.what, err.mend or "give data.E0s in eV by element"
                )
                return
        found.good.append(f"E0s of {listed(trained) or 'no element yet'}: {source[given]}")
    else:
        for element in given:
            if not is_element(element):
                found.problem("data.E0s", element, "no chemical element", "mend the symbol")
        missing = listed((trained | frames.frozen) - set(given))
        if missing:
            found.problem(
                "data.E0s",
                dict(given),
                f"no energy for {missing}",
                f"add {missing}, in eV: {{…, {missing}: …}}",
            )
        else:
            found.good.append(f"E0s of {listed(given)}: given in the configuration")
    unknown = frames.frozen - trained
    if unknown and trained:
        found.problem(
            "data.frozen_test",
            config.data.frozen_test,
            f"has {listed(unknown)}, and nothing that trains has",
            "take these frames out, or add structures or labelled data with the element",
        )
