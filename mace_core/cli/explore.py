"""`maceloop explore` and `maceloop select`: where the MD goes, and what is worth a label."""

from pathlib import Path
from typing import Annotated

import typer

Plan = Annotated[Path, typer.Option(help="the generation's plan.json")]
CommitteeJson = Annotated[Path, typer.Option(help="committee.json")]
Train = Annotated[Path, typer.Option(help="the committee's training set, extxyz")]


def register(app: typer.Typer) -> None:
    @app.command()
    def explore(
        plan: Plan,
        committee: CommitteeJson,
        train: Train,
        walker: Annotated[int, typer.Option(help="number of the walker, from 0")],
        out: Annotated[Path, typer.Option(help="extxyz to write; its JSON lies beside it")],
        valid: Annotated[
            Path | None,
            typer.Option(help="frames held out of training: starts in strata without others"),
        ] = None,
    ) -> None:
        """Langevin MD of one walker, until it is done, unsure, or wrong."""
        from mace_core.config import load_settings
        from mace_core.explore.run import explore as run
        from mace_core.storage import read_json

        frozen = read_json(plan)
        settings, exam = load_settings(plan), frozen.get("exam")
        g = frozen["generation"]
        run(settings, g, committee, train, walker, out, exam=exam, valid=valid)

    @app.command()
    def select(
        walkers: Annotated[list[Path], typer.Argument(help="the walkers' extxyz files")],
        plan: Plan,
        committee: CommitteeJson,
        train: Train,
        out: Annotated[Path, typer.Option(help="extxyz to write")],
    ) -> None:
        """Audit frames drawn at random, and the frames that are most worth a label."""
        import sys

        from mace_core.config import load_settings
        from mace_core.select.run import select as run
        from mace_core.storage import read_json

        frozen = read_json(plan)
        settings, exam = load_settings(plan), frozen.get("exam")
        generation = frozen["generation"]
        content = run(settings, generation, committee, train, walkers, out, exam=exam)
        print(f"gen {generation} · {content['message']}")
        if not content["candidates"]:
            print(f"maceloop: {content['message']}", file=sys.stderr)
