"""`maceloop init`: from a structure to a configuration that runs."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def init(
        structure: Annotated[Path, typer.Argument(help="any format that ASE or pymatgen reads")],
        engine: Annotated[
            str,
            typer.Option(help="pyscf, tblite, emt, espresso, gpaw, cp2k, vasp, ase or command"),
        ] = "pyscf",
        name: Annotated[
            str | None, typer.Option(help="of the campaign; the file's by default")
        ] = None,
        out: Annotated[Path | None, typer.Option(help="config/NAME.yaml by default")] = None,
    ) -> None:
        """Write a first configuration for a structure, and say what it lacks."""
        import yaml

        from mace_core.config.campaign import parse_config
        from mace_core.config.checks import findings
        from mace_core.config.starter import starter_config
        from mace_core.errors import UserError
        from mace_core.seed.structures import read_structures
        from mace_core.storage import write_text

        name = name or structure.stem
        out = out or Path("config") / f"{name}.yaml"
        if out.exists():
            raise UserError(f"{out} exists already", mend="give another --name or --out")
        structures = read_structures(structure)
        text = starter_config(str(structure), structures, engine, name, str(out))
        found = findings(parse_config(yaml.safe_load(text), where=str(out)))
        write_text(out, text)
        if not found.problems:
            print(f"wrote {out}; next: snakemake --cores 2 --configfile {out}")
            return
        print(f"wrote {out}; before it runs:")
        print("\n".join(f"  - {problem}" for problem in found.problems))
        print(f"next: mend that, then maceloop doctor --config {out}")
