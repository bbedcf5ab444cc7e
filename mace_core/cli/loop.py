"""`maceloop plan` and `maceloop summary`: what a generation is to do, where a campaign stands."""

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option(help="the campaign's YAML")]


def register(app: typer.Typer) -> None:
    """Add the subcommands."""

    @app.command()
    def plan(
        config: ConfigFile,
        generation: Annotated[int, typer.Option(min=0, help="that starts")],
        out: Annotated[Path, typer.Option(help="plan.json; an existing one is left alone")],
    ) -> None:
        """Freeze a generation's settings and sizes."""
        from mace_core.config import load_config
        from mace_core.plan import write_plan

        made, new = write_plan(load_config(config), generation, out)
        if not new:
            print(f"gen {generation} · plan: {out} exists and stays as it is")
            return
        sizes = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in made["sizes"].items() if n)
        print(f"gen {generation} · plan: {sizes}; theory {made['theory']} → {out}")

    @app.command()
    def summary(config: ConfigFile) -> None:
        """Where the campaign stands, what it cost, and where everything lies."""
        from mace_core.config import load_config
        from mace_core.summary import campaign_layout, summarise, write_summary
        from mace_core.summary_text import text

        settings = load_config(config)
        layout = campaign_layout(settings)
        started = bool(layout.assessed_generations())
        print(text((write_summary if started else summarise)(layout, settings)))
