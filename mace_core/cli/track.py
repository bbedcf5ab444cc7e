"""`maceloop track`: project a campaign to MLflow."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command()
    def track(
        config: Annotated[Path, typer.Option(help="configuration (YAML) or plan.json")],
        through: Annotated[
            int | None, typer.Option(min=0, help="last generation [default: all assessed]")
        ] = None,
        out: Annotated[Path | None, typer.Option(help="what was done, as JSON")] = None,
    ) -> None:
        """Write what a campaign has measured to MLflow; what is there already stays as it is.

        Never fails because of MLflow: what could not be written is caught up by the next call.
        """
        from mace_core.config import load_settings
        from mace_core.storage import write_json
        from mace_core.track import track as run

        result = run(load_settings(config), through)
        if out is not None:
            write_json(out, result)
        if result["synced"]:
            new = ", ".join(result["created"]) or "nothing new"
            print(f"tracked in {result['uri']}: {new} · {result['view']}")
        elif result["reason"] == "disabled":
            print("tracking is disabled")
