"""`maceloop import`, `maceloop export` and `maceloop merge-models`."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommands."""

    @app.command("import")
    def import_(
        file: Annotated[Path, typer.Argument(help="a .model file of mace-torch")],
        out: Annotated[Path, typer.Option(help="folder to write the model to")],
        elements: Annotated[
            str, typer.Option(help="keep these only, e.g. 'H C O': the same function for them")
        ] = "",
        head: Annotated[
            str | None, typer.Option(help="keep this one of several heads only")
        ] = None,
    ) -> None:
        """Bring a mace-torch model. The file is read as data: nothing in it is run."""
        from ase.data import atomic_numbers

        from mace_core.convert.files import import_model
        from mace_core.errors import UserError

        symbols = elements.replace(",", " ").split()
        unknown = [symbol for symbol in symbols if symbol not in atomic_numbers]
        if unknown:
            raise UserError(f"--elements: {', '.join(unknown)} is no element")
        kept = [atomic_numbers[symbol] for symbol in symbols] or None
        model, notes = import_model(file, out, kept, head)
        a = model.architecture
        typer.echo(
            f"{out} · {a.model}, {len(model.elements)} elements, {a.num_interactions} layers of "
            f"{a.num_channels} channels up to L = {a.max_L}, r_max {a.r_max:g} Å, "
            f"{str(model.dtype).removeprefix('torch.')}"
            + (f", heads {', '.join(model.heads)}" if len(model.heads) > 1 else "")
        )
        for note in notes:
            typer.echo(f"note: {note}")

    @app.command("export")
    def export(
        model: Annotated[Path, typer.Argument(help="folder of a model")],
        out: Annotated[Path, typer.Option(help="file to write")],
        format: Annotated[
            Literal["mace-torch"], typer.Option(help="who is to read it")
        ] = "mace-torch",
        mace_python: Annotated[
            str | None,
            typer.Option(
                help="a Python with mace-torch: the file is then loaded there and saved again, "
                "as mace-torch itself would write it"
            ),
        ] = None,
    ) -> None:
        """Take a model to mace-torch and to what works with its files."""
        from mace_core.convert.files import export_model

        export_model(model, out, mace_python)
        typer.echo(f"{out} · for mace-torch ({out.stat().st_size / 1e6:.1f} MB)")

    @app.command("merge-models")
    def merge_models(
        models: Annotated[
            list[Path], typer.Argument(help="folders of models, or a committee's committee.json")
        ],
        out: Annotated[Path, typer.Option(help="folder to write the model to")],
    ) -> None:
        """One wide model that is exactly the mean of several. Nothing is trained."""
        from mace_core.committee_file import read_committee
        from mace_core.model.files import load_model, read_description, save_model
        from mace_core.model.merge import merged

        folders = [
            folder
            for path in models
            for folder in (read_committee(path).members if path.suffix == ".json" else [path])
        ]
        model = merged([load_model(folder) for folder in folders])
        parts = [read_description(folder)["weights_sha256"] for folder in folders]
        save_model(model, out, {"merged": parts})
        channels = model.architecture.num_channels
        typer.echo(f"{out} · the mean of {len(folders)} models, {channels} channels")
