"""The `maceloop` command: one subcommand for each step of the loop."""

import os
import sys
from importlib import import_module
from importlib.metadata import version

import typer

from mace_core.deferred import defer
from mace_core.errors import UserError

app = typer.Typer(
    name="maceloop",
    help="Active learning of MACE interatomic potentials.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

#: Modules with a `register(app)`; each adds the subcommands of one room.
ROOMS = (
    "config",
    "doctor",
    "init",
    "loop",
    "train",
    "distill",
    "evaluate",
    "convert",
    "seed",
    "explore",
    "label",
    "labels",
    "check_labeller",
    "assess",
    "track",
    "report",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"maceloop {version('maceloop')}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    pass


def build() -> typer.Typer:
    """The command with every room's subcommands."""
    for room in ROOMS:
        import_module(f"mace_core.cli.{room}").register(app)
    return app


def run() -> None:
    """Entry point: a :class:`UserError` is a message on stderr and exit code 2."""
    _one_thread()
    defer()
    try:
        build()()
    except UserError as err:
        print(f"maceloop: {err}", file=sys.stderr)
        sys.exit(2)


def _one_thread() -> None:
    """One thread a process unless ``OMP_NUM_THREADS`` says otherwise, as it does in a job.

    Before torch and numpy are imported: they would take all cores, of which the jobs beside this
    one have their share.
    """
    threads = os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, threads)


if __name__ == "__main__":
    run()
