"""Options that several subcommands of `maceloop labels` have, and what they mean."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mace_core.conventions import LabelStatus

Store = Annotated[
    Path | None, typer.Option(help="the label store [default: the config's, else labels]")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="a campaign's YAML or plan.json: its store, its limits")
]
Theory = Annotated[str, typer.Option(help="the beginning of a theory id")]
Status = Annotated[list[LabelStatus] | None, typer.Option(help="may be given again")]
Element = Annotated[
    list[str] | None, typer.Option(help="frames with this element; again: and with that one")
]
FormulaOf = Annotated[str, typer.Option("--formula", help="e.g. H2O")]
Since = Annotated[
    datetime | None,
    typer.Option(
        help="labels written since then (UTC)",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    ),
]
AsJSON = Annotated[bool, typer.Option("--json", help="for scripts")]


def levels(store: Path | None, config: Path | None, theory: str):
    """The levels of theory that are meant."""
    from mace_core.label import ledger

    root, labeller = place(store, config)
    return ledger.levels(root, theory, labeller)


def place(store: Path | None, config: Path | None) -> tuple[Path, Any]:
    """The store's folder, and the labeller of the configuration if one is given."""
    from mace_core.config.campaign import load_labeller
    from mace_core.config.sections import Campaign

    labeller, campaign = (None, None) if config is None else load_labeller(config)
    if store is not None:
        return store, labeller
    default = Campaign.model_fields["label_store"].default
    return Path(campaign.campaign.label_store if campaign else default), labeller


def filtered(status, element, formula: str, since: datetime | None):
    from ase.data import atomic_numbers

    from mace_core.errors import UserError
    from mace_core.label.ledger import Filter, hill

    unknown = [symbol for symbol in element or () if symbol not in atomic_numbers]
    if unknown:
        raise UserError(f"--element: {', '.join(unknown)} is no element")
    return Filter(
        statuses=frozenset(str(item) for item in status or ()),
        elements=frozenset(element or ()),
        formula=hill(formula) if formula else "",
        since=None if since is None else since.replace(tzinfo=UTC),
    )


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, default=str))
