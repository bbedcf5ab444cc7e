"""Assessments of generations that pass every check of the stop rule, to be spoiled one by one."""

from audit_rows import MEV, measured, strata

from mace_core.config.campaign import parse_config

NAMES = ("Au4Cu4", "Au5Cu3")


def settings(**sections):
    values = {
        "campaign": {"name": "c", "max_generations": 8},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["x.xyz"]},
        "explore": {"walkers": 4},
        "select": {"max_frames": 10, "audit_frames": 16},
        "stop": {"target_force_mae": 30, "streak": 2, "max_labels": 500, "exam_length": 0},
    }
    for section, keys in sections.items():
        values[section] = values.get(section, {}) | keys
    return parse_config(values, where="test")


def start():
    return {
        "generation": 0,
        "labels": {"total_calls": 23, "converged": 23, "failed": 0},
        "start": {"frames": 20, "labelled_frames": 0, "without_E0": {}},
    }


def good(generation, errors=None, calls=50, names=NAMES, exam=None, **keys):
    """An assessment; errors and bounds well below a target of 30 meV/Å.

    ``errors`` and ``exam`` have the force MAE of each stratum in the audit and in the exam, meV/Å;
    ``names`` are the strata of the dataset; ``keys`` are those of :func:`audit_rows.measured`.
    """
    errors = dict.fromkeys(names, 8.0) if errors is None else errors
    found = measured(errors, generation=generation, exam=exam, **{"n": 8, **keys})
    n, n_exam = len(found["audit_frames"]), 2 * len(exam or {})
    part = {"force_mae": 8 * MEV, "force_mae_high": 10 * MEV, "n": n}
    return {
        "generation": generation,
        "labels": {"total_calls": calls},
        "dataset": {"elements": ["Cu"], "strata": strata(*names)},
        "audit": part | {"n_frames": n, "by_element": {"Cu": part}, "by_group": {"300K": part}},
        **found,
        "lost_audit": {},
        "quarantine": [],
        "walkers": {
            "n": len(found["walks"]),
            "ends": {"completed": len(found["walks"])},
            "stable_fraction": 1.0,
            "time_fs": 500.0,
            "groups": ["300K"],
            "steps_asked": 4000,
            "steps_done": 4000,
        },
        "selection": {"candidates": 9, "picked": 4, "audit": n - n_exam, "exam": n_exam},
    }


def campaign(*spoiled, n=2):
    """Generation 0 and ``n`` good ones; the last ones as given."""
    records = [good(g) for g in range(1, n + 1 - len(spoiled))]
    return [start(), *records, *spoiled]
