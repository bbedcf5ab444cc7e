"""`maceloop distill`: one model that learns from a committee."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command()
    def distill(
        generation: Annotated[Path, typer.Argument(help="results/<campaign>/gen_NN")],
        out: Annotated[Path, typer.Option(help="folder of the model")],
        frames: Annotated[
            int, typer.Option(min=1, help="of the committee's MD, which it labels itself")
        ] = 2000,
        max_num_epochs: Annotated[
            int | None, typer.Option(min=1, help="default: six times the steps of a member")
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="of MD and training")] = 0,
    ) -> None:
        """Train one model on the labels and on what the committee says in its MD. No DFT."""
        from mace_core.distill.student import distill as run

        content = run(generation, out, frames, max_num_epochs, seed)
        typer.echo(
            f"{out} · learnt from {content['n_labelled']} labels and {content['n_taught']} frames "
            "of the committee's MD"
        )
        typer.echo("force MAE, meV/Å, of frames that none was trained on:")
        for kind, mae in content["force_mae"].items():
            one, mean, student = (1000 * mae[key] for key in ("member", "committee", "student"))
            typer.echo(
                f"  {kind} ({mae['n_frames']} frames): one member {one:.1f}, "
                f"committee {mean:.1f}, this model {student:.1f}"
            )
