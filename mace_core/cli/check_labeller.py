"""`maceloop check-labeller`: can this engine be trusted?"""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommand."""

    @app.command("check-labeller")
    def check_labeller(
        config: Annotated[Path, typer.Option(help="a campaign's YAML, or one with labeller: only")],
        frames: Annotated[
            Path | None,
            typer.Option(
                help="structures to check with: the smallest molecule and the smallest crystal of "
                "them are taken [default: the campaign's, or small ones that the engine knows]"
            ),
        ] = None,
        only: Annotated[
            list[str] | None, typer.Option(help="name of a check; may be given again")
        ] = None,
        quick: Annotated[
            bool, typer.Option("--quick", help="fewer labels, a weaker proof")
        ] = False,
        unconverged: Annotated[
            Path | None, typer.Option(help="a structure whose SCF does not converge")
        ] = None,
        as_given: Annotated[
            bool,
            typer.Option("--as-given", help="do not rattle and compress the frames beforehand"),
        ] = False,
        force_tolerance: Annotated[
            float, typer.Option(help="force − finite difference, meV/Å")
        ] = 2.0,
        stress_tolerance: Annotated[
            float, typer.Option(help="stress − finite difference, meV/Å³")
        ] = 1.0,
        threads: Annotated[int, typer.Option(min=1, help="of the engine")] = 1,
        out: Annotated[Path | None, typer.Option(help="all findings as JSON")] = None,
        list_checks: Annotated[
            bool, typer.Option("--list", help="say which checks there are, and run none")
        ] = False,
    ) -> None:
        """Check forces, stress, units, order, and what mishaps look like, by real labels.

        Nothing is written into the label store. Exit code 1 if a check failed.
        """
        from mace_core.config.campaign import load_labeller
        from mace_core.conventions import MEV
        from mace_core.label import conformance
        from mace_core.label.conformance.subjects import chosen, default_frames
        from mace_core.label.theory import versions
        from mace_core.seed.structures import read_structures
        from mace_core.storage import write_json

        if list_checks:
            for check in conformance.CHECKS:
                print(f"{check.name:<19} {check.what}")
            return
        settings, campaign = load_labeller(config)
        if frames is not None:
            subjects = chosen(read_structures(frames))
        elif campaign is not None and campaign.seed.structures:
            seed = campaign.seed
            structures = [
                atoms
                for path in seed.structures
                for atoms in read_structures(path, seed.charge, seed.spin)
            ]
            subjects = chosen(structures)
        else:
            subjects = default_frames(settings)
        programs = ", ".join(f"{name} {number}" for name, number in versions(settings).items())
        print(f"check-labeller · {settings.engine} · {programs or 'no version known'}", flush=True)
        findings = []
        for finding in conformance.check_labeller(
            settings,
            subjects,
            only=only or (),
            quick=quick,
            threads=threads,
            unconverged=None if unconverged is None else read_structures(unconverged)[0],
            force=force_tolerance * MEV,
            stress=stress_tolerance * MEV,
            perturb=not as_given,
        ):
            print(finding.line(), flush=True)
            findings.append(finding)
        counts = {
            verdict: sum(finding.verdict == verdict for finding in findings)
            for verdict in conformance.Verdict
        }
        labels, seconds = (
            sum(finding.labels for finding in findings),
            sum(finding.seconds for finding in findings),
        )
        said = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
        print(f"check-labeller · {said} · {labels} labels · {seconds:.0f} s")
        if out is not None:
            write_json(
                out,
                {
                    "format": 1,
                    "engine": settings.engine,
                    "versions": versions(settings),
                    "settings": settings.model_dump(mode="json"),
                    "counts": counts,
                    "findings": [finding.to_json() for finding in findings],
                },
            )
        if counts[conformance.Verdict.FAILED]:
            raise typer.Exit(1)
