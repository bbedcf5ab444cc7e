"""The audit frames: a random draw, within strata and walks, from where the MD went."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mace_core.select.candidates import Visited

#: Audit frames of strata and their walkers: {stratum: {walker: frames to draw from}}.
_Walks = dict[str, dict[int, list[Visited]]]


@dataclass(frozen=True)
class Audit:
    """Frames whose labels measure the potential's error on its own trajectories.

    Attributes:
        frames: drawn, by walker and step.
        pool: frames that the draw was made from.
        pools: the same by stratum.
        source: ``regular``, ``ends`` or ``none``.
        message: what is to be said about the draw, "" when nothing.
        strata: ``audit_strata`` of select.json.
    """

    frames: list[Visited]
    pool: int
    source: str
    message: str
    pools: dict[str, int] = field(default_factory=dict)
    strata: dict[str, dict[str, int]] = field(default_factory=dict)


def draw_audit(
    visited: Sequence[Visited],
    n: int,
    rng: np.random.Generator,
    generation: int = 1,
    strata: Iterable[str] = (),
    ends: Sequence[Mapping[str, Any]] = (),
) -> Audit:
    """Draw ``n`` frames at random, without replacement, from all walks' regular frames.

    The frames are shared out as evenly as can be over the strata that were walked, within each
    stratum over its walks (frames of one walk are alike), and within a walk the draw is uniform.
    What does not come out even goes round: where all strata were walked, the remainder goes on
    from stratum to stratum with the generations; else it is drawn. Walks and strata with too few
    frames leave their share to others, of the same stratum first.

    Regular frames are those kept every ``save_interval`` steps. The frames at which walks ended
    and the last good ones before are left out, unless they fell due anyway: they were kept for
    their uncertainty, and would make the measured error too large. Walks of the final exam are
    left out as well: see :func:`draw_exam`.

    If every walk ended before its first regular frame there is nothing unbiased to draw from.
    Then the draw is from the ends and the last good frames, and ``source`` is ``"ends"``: its
    error is that of where walks stop, most likely above the potential's error elsewhere.

    Args:
        visited: all kept frames.
        n: frames asked for; fewer when there are fewer.
        rng: source of the draw.
        generation: its number, from 1.
        strata: all that the campaign has, walked or not.
        ends: how walkers ended, from those that kept no frame too.
    """
    visited = [v for v in visited if not v.exam]
    usable = [v for v in visited if v.usable]
    pool, source = [v for v in usable if v.regular], "regular"
    if not pool:
        pool, source = usable, "ends" if usable else "none"
    walks = _walks(visited, pool, ends)
    names = sorted({*strata, *walks})
    order = _in_turn(sorted(walks), n, generation, len(names) == len(walks), rng)
    room = [sum(map(len, walks[name].values())) for name in order]
    asked = dict(zip(order, shares(n, [n] * len(order)), strict=True))
    drawn = dict(zip(order, shares(n, room), strict=True))
    frames, short = [], []
    for name in sorted(walks):
        chosen, lacking = _draw_from(walks[name], drawn[name], rng)
        frames += chosen
        short += lacking
    frames.sort(key=lambda v: (v.walker, v.md_step))
    messages = []
    if source == "ends":
        messages.append(
            "every walk ended before its first regular frame: audit frames are drawn from where "
            "walks stopped, so their error is biased, most likely upwards"
        )
    if len(frames) < n:
        messages.append(f"{len(frames)} audit frames instead of {n}: the walks left no more")
    messages += [
        f"{name}: {drawn[name]} of {asked[name]} audit frames, its walks left no more"
        for name in sorted(walks)
        if drawn[name] < asked[name] and len(walks) > 1
    ]
    if short and len(frames) == n:
        listed = ", ".join(map(str, sorted(short)))
        messages.append(
            f"too few frames for an even share of the audit, which other walks have taken: walker "
            f"{listed}"
        )
    return Audit(
        frames,
        len(pool),
        source,
        "; ".join(messages),
        dict(zip(order, room, strict=True)),
        {
            name: {
                "asked": asked.get(name, 0),
                "drawn": drawn.get(name, 0),
                "walkers": len(walks.get(name, ())),
                "visited": sum(v.stratum == name and v.regular and v.sane for v in visited),
            }
            for name in names
        },
    )


def draw_exam(
    visited: Sequence[Visited], exam: Mapping[str, Any] | None, rng: np.random.Generator
) -> tuple[list[Visited], dict[str, dict[str, int]] | None, str]:
    """Draw the final exam's frames: of each stratum's walk one from each of equal parts of it.

    Args:
        visited: all kept frames.
        exam: the plan's ``exam``; None where the generation holds none.
        rng: source of the draw.

    Returns:
        The frames, ``exam`` of select.json, and what is to be said, "" without an exam.
    """
    if exam is None:
        return [], None, ""
    frames, found, messages = [], {}, []
    for name in exam["strata"]:
        walk = [v for v in visited if v.exam and v.stratum == name and v.usable and v.regular]
        parts = [part for part in np.array_split(np.arange(len(walk)), exam["frames"]) if len(part)]
        chosen = [walk[int(rng.choice(part))] for part in parts]
        frames += chosen
        found[name] = {"asked": exam["frames"], "drawn": len(chosen)}
        if len(chosen) < exam["frames"]:
            messages.append(
                f"{name}: {len(chosen)} of {exam['frames']} frames of the final exam, its walk "
                "left no more"
            )
    messages.insert(0, f"{len(frames)} frames of the final exam of {len(found)} strata")
    return frames, found, "; ".join(messages)


def shares(n: int, room: Sequence[int]) -> list[int]:
    """``n`` dealt out one by one, in turn, to those who have room left."""
    dealt = [0] * len(room)
    while n and dealt != list(room):
        for k, most in enumerate(room):
            if n and dealt[k] < most:
                dealt[k] += 1
                n -= 1
    return dealt


def _walks(visited: Iterable[Visited], pool: Iterable[Visited], ends) -> _Walks:
    """Every walk but the exam's, those that left nothing to draw from too, by stratum."""
    walks: _Walks = {}
    for end in ends:
        if end.get("stratum") is not None and not end.get("exam"):
            walks.setdefault(end["stratum"], {})[end["walker"]] = []
    for v in visited:
        walks.setdefault(v.stratum, {}).setdefault(v.walker, [])
    for v in pool:
        walks[v.stratum][v.walker].append(v)
    return walks


def _in_turn(
    names: list[str], n: int, generation: int, all_walked: bool, rng: np.random.Generator
) -> list[str]:
    """The order in which strata are dealt audit frames.

    Where only some of the strata were walked, these change with the generations, too: a fixed
    turn could meet the same ones again and again.
    """
    if not all_walked:
        return [names[k] for k in rng.permutation(len(names))]
    first = (generation - 1) * n % len(names) if names else 0
    return names[first:] + names[:first]


def _draw_from(
    walks: dict[int, list[Visited]], n: int, rng: np.random.Generator
) -> tuple[list[Visited], list[int]]:
    """``n`` frames of one stratum, and the walkers that had fewer than their share."""
    order = [list(walks)[k] for k in rng.permutation(len(walks))]
    numbers = shares(n, [len(walks[w]) for w in order])
    frames = [
        walks[w][k]
        for w, number in zip(order, numbers, strict=True)
        for k in rng.choice(len(walks[w]), size=number, replace=False)
    ]
    even = shares(n, [n] * len(order))
    return frames, [w for w, had, share in zip(order, numbers, even, strict=True) if had < share]
