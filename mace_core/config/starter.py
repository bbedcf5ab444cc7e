"""A first configuration for a structure: the few keys a campaign needs, the rest by default."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from ase import Atoms
from pydantic import TypeAdapter

from mace_core.config.campaign import parse_config
from mace_core.config.labellers import Labeller
from mace_core.config.starter_labellers import HINTS, LABELLERS, Subject, subject_of
from mace_core.errors import UserError

HEAD = """\
# A campaign for {structure}, written by `maceloop init`.
# Every other key has a default: `maceloop schema --yaml` lists them with their meaning.
# Check before you spend compute:  maceloop doctor --config {out}
# Run:                             snakemake --cores {cores} --configfile {out}
{hint}
"""


def starter_config(
    path: str, structures: Sequence[Atoms], engine: str, name: str, out: str, cores: int = 2
) -> str:
    """Commented YAML of a campaign that starts from the structures in a file.

    Raises:
        UserError: unknown engine, one that does not label structures of this kind, or a name that
            cannot be a folder.
    """
    if engine not in LABELLERS:
        raise UserError(f"unknown engine: {engine!r}", mend=f"choose {', '.join(LABELLERS)}")
    subject = subject_of(structures)
    values = {
        "campaign": {"name": name, "max_generations": 6},
        "labeller": LABELLERS[engine](subject),
        "seed": {"structures": [path], "n_frames": 20},
        "explore": {"temperatures": [300.0, 500.0]},
        "stop": {"target_force_mae": 30.0, "max_labels": 300},
    }
    parse_config(values, where=out)
    if not _labels(engine, subject):
        kinds = {"none": "molecules", "partial": "what is periodic in part", "full": "crystals"}
        others = [e for e in LABELLERS if _labels(e, subject)]
        raise UserError(
            f"{engine} does not label {kinds[subject.kind]}, and {path} holds them",
            mend=f"choose --engine {', '.join(others)}",
        )
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, allow_unicode=True)
    hint = f"# labeller: {HINTS[engine]}\n" if engine in HINTS else ""
    head = HEAD.format(structure=Path(path).name, out=out, cores=cores, hint=hint)
    return head + text


def _labels(engine: str, subject: Subject) -> bool:
    labeller = TypeAdapter(Labeller).validate_python(LABELLERS[engine](subject))
    return subject.kind in labeller.PERIODICITY
