"""`maceloop labels`: merge, import, export, release."""

from pathlib import Path
from typing import Annotated

import typer

from mace_core.cli.labels_options import (
    AsJSON,
    ConfigFile,
    Element,
    FormulaOf,
    Since,
    Store,
    Theory,
    filtered,
    levels,
    place,
    print_json,
)
from mace_core.conventions import REF_ENERGY, REF_FORCES, REF_STRESS


def add(labels: typer.Typer) -> None:
    """Add these subcommands."""

    @labels.command("merge")
    def merge(
        source: Annotated[Path, typer.Argument(help="a label store; it stays as it is")],
        target: Annotated[Path, typer.Argument(help="the label store that gets all of it")],
        as_json: AsJSON = False,
    ) -> None:
        """Bring all labels and notes of one store into another.

        A converged label wins over a failure. Of two converged ones that differ, the one that is
        there stays, and both energies are told. Damaged ones are not copied. Exit code 1 if
        labels differ or something was not copied.
        """
        from mace_core.errors import UserError
        from mace_core.label import exchange
        from mace_core.label.shown import merged_text

        try:
            done = exchange.merge(source, target)
        except OSError as err:
            raise UserError(
                f"not everything could be copied: {err.strerror}",
                where=str(err.filename or target),
                mend="mend that and merge again: what was copied is whole, and stays",
            ) from err
        if as_json:
            print_json([{**vars(d), "conflicts": [vars(c) for c in d.conflicts]} for d in done])
        else:
            typer.echo("\n".join(merged_text(item) for item in done))
        if any(item.conflicts or item.not_copied for item in done):
            raise typer.Exit(1)

    @labels.command("import")
    def import_(
        files: Annotated[list[Path], typer.Argument(help="extxyz with labels")],
        store: Store = None,
        config: Annotated[
            Path | None, typer.Option(help="the labels are of this configuration's labeller")
        ] = None,
        level: Annotated[
            str, typer.Option(help='else: their level in words, e.g. "PBE/def2-SVP, ORCA 5"')
        ] = "",
        energy_key: Annotated[
            str, typer.Option("--energy_key", "--energy-key", help="in info, eV")
        ] = REF_ENERGY,
        forces_key: Annotated[
            str, typer.Option("--forces_key", "--forces-key", help="in arrays, eV/Å")
        ] = REF_FORCES,
        stress_key: Annotated[
            str, typer.Option("--stress_key", "--stress-key", help="in info, eV/Å³, ASE's sign")
        ] = REF_STRESS,
    ) -> None:
        """Take labels that somebody computed into the store, all of them or none.

        Charge and spin are a frame's `charge` and `spin` (N↑ − N↓), else 0.
        """
        from mace_core.errors import UserError
        from mace_core.label.adopt import adopt
        from mace_core.label.levels import level_of, stated_level
        from mace_core.label.shown import adopted_text
        from mace_core.label.store import LabelFolder
        from mace_core.label.theory import describe, engine_version, id_of

        if (config is None) == (not level):
            raise UserError(
                "the labels' level of theory must be said, once",
                mend="give --config C.yaml if they are of its labeller, engine's version included, "
                'or --level "PBE/def2-SVP, ORCA 5", in words, and --store',
            )
        root, labeller = place(store, config)
        theory = stated_level(level) if labeller is None else describe(labeller)
        done = adopt(
            LabelFolder(root / id_of(theory), labeller),
            theory,
            files,
            (energy_key, forces_key, stress_key),
            "" if labeller is None else engine_version(labeller),
        )
        typer.echo(adopted_text(done, level_of(theory)))

    @labels.command("export")
    def export(
        out: Annotated[Path, typer.Argument(help="extxyz to write")],
        store: Store = None,
        config: ConfigFile = None,
        theory: Theory = "",
        element: Element = None,
        formula: FormulaOf = "",
        since: Since = None,
    ) -> None:
        """Write a training set: converged labels that are not in quarantine, as REF_*.

        With --config, those at its labeller's level of theory.
        """
        from mace_core.errors import UserError
        from mace_core.frames import write_frames
        from mace_core.label.exchange import training_set
        from mace_core.label.theory import theory_id

        root, labeller = place(store, config)
        if labeller is not None and not theory:
            theory = theory_id(labeller)
        frames, left_out = training_set(
            levels(root, config, theory), filtered(None, element, formula, since)
        )
        said = ", ".join(f"{n} {status}" for status, n in sorted(left_out.items()))
        if not frames:
            raise UserError(
                "there is no label to train on" + (f": {said}" if said else ""),
                where=str(root),
                mend="`maceloop labels list` shows what there is",
            )
        write_frames(out, frames)
        typer.echo(f"{out} · {len(frames)} labels" + (f"; left out: {said}" if said else ""))

    @labels.command("release")
    def release(
        frame: Annotated[str, typer.Argument(help="the beginning of a frame id")],
        reason: Annotated[str, typer.Option(help="why this label can be believed")] = "",
        store: Store = None,
        config: ConfigFile = None,
        theory: Theory = "",
        undo: Annotated[bool, typer.Option("--undo", help="take a release back")] = False,
    ) -> None:
        """Let a label out of quarantine: it trains from the next generation on."""
        from mace_core.errors import UserError
        from mace_core.label import quarantine
        from mace_core.label.ledger import find

        found = find(levels(store, config, theory), frame)
        if len(found) > 1:
            raise UserError(
                f"frame {found[0][1]} has labels at {len(found)} levels of theory",
                mend="choose with --theory: " + ", ".join(folder.theory_id for folder, _ in found),
            )
        ((folder, frame_id),) = found
        if undo:
            quarantine.undo(folder, frame_id)
            typer.echo(f"frame {frame_id} is in quarantine again")
        else:
            quarantine.release(folder, frame_id, reason)
            typer.echo(f"frame {frame_id} is released: it trains from the next generation on")
