"""`maceloop build-dataset` and `maceloop train`."""

from pathlib import Path
from typing import Annotated

import typer

Files = list[Path]


def register(app: typer.Typer) -> None:
    """Add the subcommands."""

    @app.command("build-dataset")
    def build_dataset(
        merged: Annotated[Files, typer.Option(help="merged.json of every earlier generation")],
        assess: Annotated[Files, typer.Option(help="assess.json of each; once for each")],
        plan: Annotated[Path, typer.Option(help="the generation's plan.json")],
        out: Annotated[Path, typer.Option(help="folder to write to")],
        ledger: Annotated[
            Path | None,
            typer.Option(help="ledger.parquet of the generation before: its sides are kept"),
        ] = None,
        more: Annotated[
            Files | None, typer.Argument(metavar="[M1 …]", help="more of --merged")
        ] = None,
    ) -> None:
        """Collect every sound label of earlier generations: training and held-out frames."""
        from mace_core.dataset import build_dataset as build

        made = build(plan, [*merged, *(more or [])], out, assess, ledger)
        typer.echo(
            f"gen {made['generation']} · dataset · {made['n_train']} train, "
            f"{made['n_valid']} held out · {made['sha256'][:12]}"
        )

    @app.command("train")
    def train(
        train: Annotated[Path, typer.Option(help="extxyz with labels")],
        config: Annotated[Path, typer.Option(help="configuration, or a generation's plan.json")],
        out: Annotated[Path, typer.Option(help="folder of the model")],
        valid: Annotated[
            Path | None, typer.Option(help="held-out frames; else a share of --train")
        ] = None,
        seed: Annotated[
            int, typer.Option(min=0, help="without a plan, every draw follows from it")
        ] = 0,
        member: Annotated[int, typer.Option(min=0, help="of the committee")] = 0,
        warm_start: Annotated[
            Path | None, typer.Option(help="folder of a model to start from")
        ] = None,
    ) -> None:
        """Train one model. A killed training goes on with the same command."""
        from mace_core.train.member import train_member

        metrics = train_member(
            train, config, out, valid_file=valid, seed=seed, member=member, warm_start=warm_start
        )
        errors = metrics["valid"]
        typer.echo(
            f"{out} · {metrics['epochs']} epochs, best {metrics['best_epoch']} "
            f"({metrics['stop']}) · valid F {1000 * errors['forces_mae']:.1f} meV/Å, "
            f"E {1000 * errors['energy_mae']:.2f} meV/atom · {metrics['seconds']:.0f} s"
        )
