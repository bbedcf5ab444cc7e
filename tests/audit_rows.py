"""Rows of ``audit_frames`` and ``walks`` as assess.json has them, of known errors.

Standard library only: the fake ``maceloop`` of the workflow's tests writes them too.
"""

MEV = 1e-3


def frame(
    error,
    *,
    generation=1,
    number=0,
    stratum="cell",
    group="300K",
    walker=0,
    segment=0,
    exam=False,
    spread=None,
    energy=0.0,
    stress=None,
    elements=("Cu",),
    displacement=0.1,
):
    """A row of ``audit_frames``.

    The force MAE ``error`` is in meV/Å, and that of every element; ``spread`` too, half of the
    error by default. ``energy`` is in meV/atom with its sign, ``stress`` in meV/Å³; None: no label.
    """
    spread = (error / 2 if spread is None else spread) * MEV
    return {
        "frame_id": f"g{generation}-w{walker}-{number}{'-exam' if exam else ''}",
        "generation": generation,
        "stratum": stratum,
        "group": group,
        "walker": walker,
        "exam": exam,
        "segment": segment,
        "displacement": displacement,
        "force_mae": error * MEV,
        "spread": spread,
        "by_element": {
            element: {"n": 4, "force_mae": error * MEV, "spread": spread} for element in elements
        },
        "energy_error": None if energy is None else energy * MEV,
        "stress_mae": None if stress is None else stress * MEV,
    }


def walk(
    spread,
    *,
    generation=1,
    walker=0,
    stratum="cell",
    group="300K",
    exam=False,
    end="completed",
    steps_done=1000,
    steps_asked=1000,
    n_frames=100,
    elements=("Cu",),
):
    """A row of ``walks``; ``spread`` in meV/Å, None: not known."""
    return {
        "generation": generation,
        "walker": walker,
        "stratum": stratum,
        "group": group,
        "exam": exam,
        "end": end,
        "steps_done": steps_done,
        "steps_asked": steps_asked,
        "n_frames": n_frames,
        "spread": None if spread is None else dict.fromkeys(("all", *elements), spread * MEV),
    }


def measured(
    strata,
    *,
    generation=1,
    n=8,
    groups=("300K",),
    energies=None,
    stress=None,
    elements=("Cu",),
    exam=None,
    exam_steps=10_000,
    displacement=0.1,
):
    """``audit_frames`` and ``walks`` of a generation: two walks of each stratum and temperature.

    ``strata`` has the force MAE of each, in meV/Å; the ``n`` frames of each scatter by a tenth
    about it, and so does the ratio of error to spread. ``energies`` has the mean energy error of
    each, in meV/atom; where it is not given, a tenth of the force error's number. ``exam`` has the
    force MAE of each stratum's exam: two frames of one long walk.
    """
    rows, walks = [], []
    for stratum, error in strata.items():
        energy = (energies or {}).get(stratum, error / 10)
        numbers = range(len(walks), len(walks) + 2 * len(groups))
        own = [(w, groups[k % len(groups)]) for k, w in enumerate(numbers)]
        same = {"generation": generation, "stratum": stratum, "elements": elements}
        for walker, group in own:
            walks.append(walk(error / 2, walker=walker, group=group, **same))
        for k in range(n):
            walker, group = own[k % len(own)]
            factor = 1 + 0.1 * (-1) ** (k // len(own))
            rows.append(
                frame(
                    error * factor,
                    spread=error / 2 * (2 - factor if k % 3 else factor),
                    number=k,
                    group=group,
                    walker=walker,
                    energy=None if energy is None else energy * factor,
                    stress=stress,
                    displacement=displacement,
                    **same,
                )
            )
    for stratum, error in (exam or {}).items():
        same = {"generation": generation, "stratum": stratum, "elements": elements}
        same |= {"walker": len(walks), "group": groups[-1], "exam": True}
        walks.append(walk(error / 2, steps_done=exam_steps, steps_asked=exam_steps, **same))
        rows += [frame(error, number=k, segment=5 * k, energy=error / 10, **same) for k in range(2)]
    return {"audit_frames": rows, "walks": walks}


def strata(*names):
    """``strata`` of dataset.json."""
    return {name: {"labels": 9, "n_train": 8, "n_valid": 1} for name in names}
