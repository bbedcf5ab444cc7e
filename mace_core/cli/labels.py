"""`maceloop labels`: look at a label store, check it, and bring labels in and out."""

from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer

from mace_core.cli import labels_exchange
from mace_core.cli.labels_options import (
    AsJSON,
    ConfigFile,
    Element,
    FormulaOf,
    Since,
    Status,
    Store,
    Theory,
    filtered,
    levels,
    print_json,
)


def register(app: typer.Typer) -> None:
    """Add `maceloop labels` with its subcommands."""
    labels = typer.Typer(
        help="Look at a label store, check it, bring labels in and out.", no_args_is_help=True
    )
    app.add_typer(labels, name="labels")
    _look(labels)
    labels_exchange.add(labels)


def _look(labels: typer.Typer) -> None:
    @labels.command("list")
    def list_(
        store: Store = None,
        config: ConfigFile = None,
        theory: Theory = "",
        status: Status = None,
        element: Element = None,
        formula: FormulaOf = "",
        since: Since = None,
        as_json: AsJSON = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="for spreadsheets")] = False,
    ) -> None:
        """One line a label: status and why, energy, largest force, cost, when."""
        from mace_core.label.ledger import rows
        from mace_core.label.levels import level_in
        from mace_core.label.shown import csv_text, list_text

        folders = levels(store, config, theory)
        found = rows(folders, filtered(status, element, formula, since))
        if as_json:
            print_json([asdict(row) for row in found])
        elif as_csv:
            typer.echo(csv_text(found), nl=False)
        else:
            places = {folder.theory_id: folder.folder for folder in folders}
            empty = True
            for name, group in groupby(found, lambda row: row.theory_id):
                typer.echo(f"theory {name} · {level_in(places[name])}")
                typer.echo(list_text(list(group)))
                empty = False
            if empty:
                typer.echo("no labels")

    @labels.command("count")
    def count(
        store: Store = None,
        config: ConfigFile = None,
        theory: Theory = "",
        status: Status = None,
        element: Element = None,
        formula: FormulaOf = "",
        since: Since = None,
        as_json: AsJSON = False,
    ) -> None:
        """How many labels by status and rung, and their wall time and core-hours."""
        from mace_core.label.ledger import counts
        from mace_core.label.shown import count_text

        found = counts(levels(store, config, theory), filtered(status, element, formula, since))
        if as_json:
            print_json([vars(item) for item in found])
        else:
            typer.echo("\n".join(count_text(item) for item in found) or "no labels")

    @labels.command("show")
    def show(
        frame: Annotated[str, typer.Argument(help="the beginning of a frame id")],
        store: Store = None,
        config: ConfigFile = None,
        theory: Theory = "",
        as_json: AsJSON = False,
    ) -> None:
        """All that is known of one frame's labels, attempts and doubts included."""
        from mace_core.label.ledger import find, judged, row_of
        from mace_core.label.levels import level_in
        from mace_core.label.shown import record_text

        seen = []
        for folder, frame_id in find(levels(store, config, theory), frame):
            record, released = judged(folder, frame_id)
            row = row_of(record, released)
            if as_json:
                notes = {
                    "doubt": folder.doubts.read(frame_id),
                    "release": folder.releases.read(frame_id),
                }
                again = folder.rechecks.stored(frame_id)
                notes["recheck"] = None if again is None else asdict(again)
                seen.append({**asdict(record), "released": released, **notes})
            else:
                typer.echo(record_text(folder, level_in(folder.folder), record, row))
        if as_json:
            print_json(seen)

    @labels.command("verify")
    def verify(
        store: Store = None, config: ConfigFile = None, theory: Theory = "", as_json: AsJSON = False
    ) -> None:
        """Check every file's hash, name, geometry and shapes. Exit code 1 if one is damaged."""
        from mace_core.label import integrity

        found = integrity.verify(levels(store, config, theory))
        if as_json:
            print_json([asdict(item) for item in found])
        else:
            for item in found:
                for path, problem in item.damaged:
                    typer.echo(f"DAMAGED {path}: {problem}")
                typer.echo(
                    f"theory {item.theory_id} · {item.records} records, {item.notes} notes: "
                    f"{len(item.damaged) or 'none'} damaged"
                    + (f"; {item.set_aside} were set aside earlier" if item.set_aside else "")
                )
            if any(item.damaged for item in found):
                typer.echo(
                    "mend: `maceloop labels merge BACKUP STORE` brings records back from a copy, "
                    "`maceloop label --retry-failed` computes them again"
                )
        if any(item.damaged for item in found):
            raise typer.Exit(1)

    @labels.command("orphans")
    def orphans(
        store: Store = None,
        config: ConfigFile = None,
        theory: Theory = "",
        remove: Annotated[
            bool, typer.Option("--remove", help="delete claims and temporary files listed")
        ] = False,
        outputs: Annotated[
            bool, typer.Option("--outputs", help="with --remove: delete the outputs listed, too")
        ] = False,
        as_json: AsJSON = False,
    ) -> None:
        """What killed processes left behind, outputs of failures that were mended, lone notes.

        Whatever a process may still hold, on whatever machine, is not among them.
        """
        from mace_core.label import orphans as module
        from mace_core.label.shown import orphan_text

        found = module.orphans(levels(store, config, theory))
        removable = module.LITTER | ({module.Kind.OUTPUTS} if outputs else set())
        for orphan in found if remove else ():
            if orphan.kind in removable:
                module.remove(orphan)
        gone = [item.path for item in found if not item.path.exists()]
        if as_json:
            print_json([{**vars(item), "removed": item.path in gone} for item in found])
        else:
            typer.echo(orphan_text(found, gone) if found else "no orphans")
