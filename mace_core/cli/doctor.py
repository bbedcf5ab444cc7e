"""`maceloop doctor`: whether a campaign can run here, and what it will cost."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def doctor(
        config: Annotated[Path, typer.Option(help="the campaign's YAML")],
        cores: Annotated[
            int | None, typer.Option(min=1, help="of the forecast [default: this machine's]")
        ] = None,
        profile: Annotated[
            Path | None, typer.Option(help="Snakemake profile to look at as well")
        ] = None,
        label: Annotated[bool, typer.Option(help="compute one label, in a temporary store")] = True,
        forecast: Annotated[
            bool, typer.Option(help="time training and MD for some seconds; forecast the campaign")
        ] = True,
    ) -> None:
        """Check a configuration, engine, files, machine and stores; try one label; forecast."""
        from mace_core.config import load_config
        from mace_core.doctor import examine

        for line in examine(
            load_config(config), cores=cores, profile=profile, label=label, forecast=forecast
        ):
            print(line, flush=True)
