"""`maceloop schema`: what can be configured."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def schema(
        yaml: Annotated[bool, typer.Option("--yaml", help="commented defaults, not JSON")] = False,
        out: Annotated[Path | None, typer.Option(help="a file instead of the screen")] = None,
        write: Annotated[
            bool, typer.Option("--write", help="config/defaults.yaml, schema.json")
        ] = False,
    ) -> None:
        """Every key of the configuration: JSON schema, or commented YAML with the defaults."""
        from mace_core.config import render
        from mace_core.storage import write_text

        if write:
            for path in render.write_files("config"):
                print(f"wrote {path}")
            return
        text = render.default_yaml() if yaml else render.json_schema()
        if out is None:
            print(text, end="")
        else:
            write_text(out, text)
            print(f"wrote {out}")
