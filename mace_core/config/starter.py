"""A first configuration for a structure: the few keys a campaign needs, the rest by default."""

from pathlib import Path

import yaml

from mace_core.config.campaign import parse_config
from mace_core.errors import UserError

HEAD = """\
# A campaign for {structure}, written by `maceloop init`.
# Every other key has a default: `maceloop schema --yaml` lists them with their meaning.
# Check before you spend compute:  maceloop doctor --config {out}
# Run:                             snakemake --cores {cores} --configfile {out}

"""

ENGINES = {
    "pyscf": {"engine": "pyscf", "xc": "pbe", "basis": "def2-svp"},
    "tblite": {"engine": "tblite", "method": "GFN2-xTB"},
    "emt": {"engine": "emt"},
}


def starter_config(structure: str, engine: str, name: str, out: str, cores: int = 2) -> str:
    """Commented YAML of a campaign that starts from ``structure``.

    Raises:
        UserError: unknown engine, or a name that cannot be a folder.
    """
    if engine not in ENGINES:
        raise UserError(
            f"unknown engine: {engine!r}",
            mend=f"choose {', '.join(ENGINES)}; an ASE calculator goes into the file by hand",
        )
    values = {
        "campaign": {"name": name, "max_generations": 6},
        "labeller": ENGINES[engine],
        "seed": {"structures": [structure], "n_frames": 20},
        "explore": {"temperatures": [300.0, 500.0]},
        "stop": {"target_force_mae": 30.0, "max_labels": 300},
    }
    parse_config(values, where=out)
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None)
    return HEAD.format(structure=Path(structure).name, out=out, cores=cores) + text
