"""How a campaign will be judged: its strata, their shares of the audit, the exam, the targets."""

from collections.abc import Iterator, Sequence
from itertools import islice

from ase import Atoms
from ase.io import iread

from mace_core.assess.strata import targets
from mace_core.config.campaign import Config
from mace_core.config.checks.findings import Findings
from mace_core.conventions import MEV
from mace_core.dataset.strata import stratum_of_users
from mace_core.explore.deal import dealt_strata
from mace_core.seed.prepare import base_structures, seed_frames
from mace_core.strata import composition, stratum_of
from mace_core.train.labelled import is_isolated_atom

#: Frames of a labelled file whose strata are looked at, and strata that are named.
_LOOKED_AT, _NAMED = 2000, 12


def strata_asked(config: Config) -> list[str]:
    """Names of the strata that the campaign will have, sorted.

    Of labelled files the first 2000 frames are looked at.

    Raises:
        UserError: a structure cannot be read or used.
    """
    seed = config.seed.model_copy(update={"n_frames": 0, "md": None})
    one_of_each = config.model_copy(update={"seed": seed})
    own = list(seed_frames(one_of_each, list(base_structures(config))))
    origins: dict[tuple, set[str]] = {}
    for atoms in own:
        origins.setdefault(composition(atoms), set()).add(stratum_of(atoms))
    names = {stratum_of(atoms) for atoms in own}
    for path in config.data.labelled:
        frames = (a for a in islice(iread(path), _LOOKED_AT) if isinstance(a, Atoms))
        names |= {stratum_of_users(a, origins) for a in frames if not is_isolated_atom(a)}
    return sorted(names)


def judged(config: Config, names: Sequence[str], found: Findings) -> None:
    """Add to ``found`` a problem where strata can never be measured, a note where it is luck.

    A note, too, where the temperatures cannot all be bounded.
    """
    stop, n = config.stop, len(names)
    temperatures, audit = len(config.explore.temperatures), config.select.audit_frames
    if audit < 2 * temperatures:
        found.notes.append(
            f"select.audit_frames {audit} for {temperatures} temperatures: an error needs two "
            "audit frames of a temperature in one generation to be bounded (check walker_groups); "
            f"set select.audit_frames to {2 * temperatures} or more"
        )
    if not n:
        return
    always, ever = _measured(config, names)
    if always:
        return
    each = -(-n // stop.streak)
    walkers = config.explore.walkers
    needs = []
    if config.select.audit_frames < each:
        needs.append(f"select.audit_frames to {each} or more")
    if not _measured(config, names, audit=n)[0]:
        needs.append(f"explore.walkers to {_enough_walkers(config, names)} or more")
    mend = f"set {' and '.join(needs) or 'explore.walkers higher'}, or raise stop.streak"
    said = (
        f"{n} strata, and per generation explore.walkers {walkers} and select.audit_frames "
        f"{config.select.audit_frames}: not each is measured within stop.streak ({stop.streak})"
    )
    if stop.exam_length or ever:
        rest = (
            "the final exam alone measures the rest"
            if stop.exam_length
            else "it is a matter of luck whether all ever are"
        )
        found.notes.append(f"{said}: {rest}; {mend}")
    else:
        found.problem(
            "stop.streak", stop.streak, f"{said}, so that the campaign cannot converge", mend
        )


def strata_lines(config: Config, names: Sequence[str]) -> Iterator[str]:
    """What is asked for, what each stratum gets, and what the exam costs."""
    stop, n = config.stop, len(names)
    if not n:
        return
    more = f" and {n - _NAMED} more" if n > _NAMED else ""
    each = "strata, each" if n > 1 else "stratum,"
    yield f"ok    {n} {each} to be measured by itself: {', '.join(names[:_NAMED])}{more}"
    share = config.select.audit_frames / n
    yield (
        f"      audit: {_few(share)} of {config.select.audit_frames} frames per generation and "
        f"stratum, {_few(share * stop.streak)} in {stop.streak} generations (stop.streak)"
        + (", strata take turns" if share < 1 or config.explore.walkers < n else "")
    )
    if stop.exam_length:
        steps = stop.exam_length * config.explore.steps
        yield (
            f"      final exam: {n} walk{'s' if n > 1 else ''} of {steps} steps, "
            f"{n * stop.exam_frames} label calls ({stop.exam_frames} per stratum), each time it "
            "is held"
        )
    else:
        yield "      final exam: none (stop.exam_length 0)"
    limits = targets(config)
    yield (
        f"      targets of each stratum: force MAE {limits['force'] / MEV:g} meV/Å "
        "(stop.target_force_mae)"
    )
    for kind, unit, share_said, where in (
        ("energy", "meV/atom", "a quarter", ""),
        ("stress", "meV/Å³", "a tenth", " where labels have a stress"),
    ):
        key = f"stop.target_{kind}_mae"
        own = getattr(stop, f"target_{kind}_mae") is not None
        source = key if own else f"{share_said} of that of the forces: {key} is not set"
        yield f"        {kind} MAE {limits[kind] / MEV:g} {unit}{where} ({source})"


def _measured(config: Config, names: Sequence[str], audit: int | None = None) -> tuple[bool, bool]:
    """Whether all strata have audit frames in every window of ``streak`` generations, and in any.

    The walkers are dealt out as in a campaign whose strata all have frames to start from. Where
    a generation has fewer audit frames than strata that were walked, they are those whose turn it
    is if all were walked, and drawn at random else: then ``every`` is not promised.
    """
    explore, n = config.explore, len(names)
    audit = config.select.audit_frames if audit is None else audit
    generations = range(1, n + config.stop.streak + 1)
    starts = {name: [None] for name in names}
    sure, possible = [], []
    for g in generations:
        walked = set(dealt_strata(starts, explore.walkers, len(explore.temperatures), (), g))
        possible.append(walked)
        if audit >= len(walked):
            sure.append(walked)
        elif len(walked) == n:
            first = (g - 1) * audit % n
            turn = {sorted(names)[(first + k) % n] for k in range(audit)}
            sure.append(turn)
            possible[-1] = turn
        else:
            sure.append(set())

    def windows(sets: list[set[str]]) -> list[bool]:
        k = config.stop.streak
        return [len(set().union(*sets[i : i + k])) == n for i in range(n)]

    room = audit * config.stop.streak >= n
    return all(windows(sure)), room and any(windows(possible))


def _enough_walkers(config: Config, names: Sequence[str]) -> int:
    """The least number of walkers with which every window walks all strata."""
    for n in range(config.explore.walkers, 4 * len(names) * len(config.explore.temperatures)):
        explore = config.explore.model_copy(update={"walkers": n})
        tried = config.model_copy(update={"explore": explore})
        if _measured(tried, names, audit=len(names))[0]:
            return n
    return len(names) * len(config.explore.temperatures)


def _few(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
