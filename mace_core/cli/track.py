"""`maceloop track` and `maceloop sync`: project a campaign to MLflow."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommands."""

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
            print(_said(result))
        elif result["reason"] == "disabled":
            print("tracking is disabled")
        else:  # a step's stderr goes into its log: the user is told here
            print(
                "MLflow is behind: this generation could not be written. Nothing is lost: "
                f"`maceloop sync --config {config}` catches up"
            )

    @app.command()
    def sync(
        config: Annotated[Path, typer.Option(help="the campaign's YAML")],
    ) -> None:
        """Bring MLflow up to date with a campaign's files, e.g. after its server was down.

        Fails where the store cannot be written; what is there already stays as it is.
        """
        from mace_core.config import load_settings
        from mace_core.track import sync as run

        print(_said(run(load_settings(config))))


def _said(result: dict) -> str:
    new = ", ".join(result["created"]) or "nothing new"
    return f"tracked in {result['uri']}: {new} · {result['view']}"
