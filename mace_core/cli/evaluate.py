"""``maceloop evaluate``: what models say about frames."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    # `--model A B C`: the option takes A, what follows it arrives as extra arguments.
    @app.command(context_settings={"allow_extra_args": True})
    def evaluate(
        context: typer.Context,
        model: Annotated[
            list[str], typer.Option(help="model folder; several (M1 M2 …) make a committee")
        ],
        frames: Annotated[Path, typer.Option(help="extxyz")],
        out: Annotated[Path, typer.Option(help="extxyz with MACE_* added")],
        batch_size: Annotated[int, typer.Option(min=1, help="frames at once")] = 8,
        device: Annotated[str, typer.Option(help="torch device")] = "cpu",
    ) -> None:
        """Write MACE_energy, MACE_forces, MACE_stress, and MACE_forces_std (if several models)."""
        from mace_core.committee import Committee, evaluate_frames
        from mace_core.frames import read_frames, write_frames

        committee = Committee.load([*model, *context.args], device=device)
        evaluated = evaluate_frames(committee, read_frames(frames), batch_size)
        write_frames(out, evaluated)
        print(f"{len(evaluated)} frames by {len(committee)} model(s) → {out}")
