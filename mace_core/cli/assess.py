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
    def recheck(
        plan: Plan,
        merged: Annotated[Path, typer.Option(help="merged.json")],
        committee: Annotated[Path, typer.Option(help="committee.json")],
        select: Annotated[Path, typer.Option(help="select.json")],
        out: Annotated[Path, typer.Option(help="recheck.json")],
        threads: Annotated[int, typer.Option(min=1, help="of the engine")] = 1,
    ) -> None:
        """Compute the labels again that the committee doubts, from another starting guess."""
        import signal
        import sys

        from mace_core.assess.recheck import lines, recheck_labels
        from mace_core.plan import read_plan

        # A scheduler's SIGTERM ends it as Ctrl-C does: the worker is stopped, the claims let go.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        result = recheck_labels(read_plan(plan), merged, committee, select, out, threads)
        for line in lines(result):
            print(line, flush=True)

    @app.command()
    def assess(
        plan: Plan,
        merged: Annotated[Path, typer.Option(help="merged.json")],
        out: Annotated[Path, typer.Option(help="assess.json")],
        committee: Annotated[Path | None, typer.Option(help="committee.json")] = None,
        select: Annotated[Path | None, typer.Option(help="select.json")] = None,
        recheck: Annotated[
            Path | None, typer.Option(help="recheck.json; without it, doubts stay as they are")
        ] = None,
    ) -> None:
        """Test a generation's models on labels they have never seen, and decide what comes next."""
        import sys

        from mace_core.assess.generation import assess_generation
        from mace_core.assess.said import lines
        from mace_core.config.campaign import load_settings
        from mace_core.plan import read_plan
        from mace_core.summary import campaign_layout, write_summary

        result = assess_generation(
            read_plan(plan), merged, out, committee, select, recheck_path=recheck
        )
        for note in result["notes"]:
            print(f"maceloop: {note}", file=sys.stderr)
        settings = load_settings(plan)
        print("\n".join(lines(result, settings.stop.confidence)), flush=True)
        write_summary(campaign_layout(settings), settings)
