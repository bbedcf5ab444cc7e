"""`maceloop calibrate` and `maceloop assess`: how far models are trusted, and what comes next."""

from pathlib import Path
from typing import Annotated

import typer

Plan = Annotated[Path, typer.Option(help="the generation's plan.json")]


def register(app: typer.Typer) -> None:
    """Add the subcommands."""

    @app.command()
    def calibrate(
        models: Annotated[list[Path], typer.Argument(help="the members' folders")],
        plan: Plan,
        valid: Annotated[Path, typer.Option(help="held-out frames; dataset.json lies beside them")],
        out: Annotated[Path, typer.Option(help="committee.json")],
    ) -> None:
        """Make a committee of members, with the factor that turns their spread into an error."""
        from mace_core.assess.committee import calibrate_committee
        from mace_core.assess.words import in_words
        from mace_core.plan import read_plan

        made = calibrate_committee(read_plan(plan), valid, out, models)
        print(
            f"gen {made['generation']} · committee of {len(made['members'])} · calibration "
            f"factor: {in_words(made['calibration'])}"
        )

    @app.command()
    def assess(
        plan: Plan,
        merged: Annotated[Path, typer.Option(help="merged.json")],
        out: Annotated[Path, typer.Option(help="assess.json")],
        committee: Annotated[Path | None, typer.Option(help="committee.json")] = None,
        select: Annotated[Path | None, typer.Option(help="select.json")] = None,
    ) -> None:
        """Test a generation's models on labels they have never seen, and decide what comes next."""
        import sys

        from mace_core.assess.generation import assess_generation, lines
        from mace_core.config.campaign import load_settings
        from mace_core.plan import read_plan
        from mace_core.summary import campaign_layout, write_summary

        result = assess_generation(read_plan(plan), merged, out, committee, select)
        for note in result["notes"]:
            print(f"maceloop: {note}", file=sys.stderr)
        print("\n".join(lines(result)), flush=True)
        settings = load_settings(plan)
        write_summary(campaign_layout(settings), settings)
