"""`maceloop report`: the campaign as one HTML file."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def report(
        config: Annotated[Path, typer.Option(help="configuration (YAML) or plan.json")],
        out: Annotated[Path, typer.Option(help="the HTML file")],
        through: Annotated[
            int | None, typer.Option(min=0, help="last generation [default: all assessed]")
        ] = None,
    ) -> None:
        """Write what a campaign has measured as one HTML file that is readable offline."""
        from mace_core.config import load_settings
        from mace_core.report import write_report

        print(f"report: {write_report(load_settings(config), through, out)}")
