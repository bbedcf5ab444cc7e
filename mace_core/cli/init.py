"""`maceloop init`: from a structure to a configuration that runs."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def init(
        structure: Annotated[Path, typer.Argument(help="any format that ASE or pymatgen reads")],
        engine: Annotated[str, typer.Option(help="pyscf, tblite or emt")] = "pyscf",
        name: Annotated[
            str | None, typer.Option(help="of the campaign; the file's by default")
        ] = None,
        out: Annotated[Path | None, typer.Option(help="config/NAME.yaml by default")] = None,
    ) -> None:
        """Write a first configuration for a structure."""
        import yaml

        from mace_core.config.campaign import parse_config
        from mace_core.config.checks import check
        from mace_core.config.starter import starter_config
        from mace_core.errors import UserError
        from mace_core.storage import write_text

        name = name or structure.stem
        out = out or Path("config") / f"{name}.yaml"
        if out.exists():
            raise UserError(f"{out} exists already", mend="give another --name or --out")
        text = starter_config(str(structure), engine, name, str(out))
        check(parse_config(yaml.safe_load(text), where=str(out)))
        write_text(out, text)
        print(f"wrote {out}; next: snakemake --cores 2 --configfile {out}")
