"""`maceloop prepare-seed`: generation 0's frames."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    @app.command("prepare-seed")
    def prepare_seed(
        plan: Annotated[Path, typer.Option(help="generation 0's plan.json")],
        out: Annotated[Path, typer.Option(help="extxyz to write")],
    ) -> None:
        """Structures, rattled and strained copies, defects, isolated atoms: the first labels."""
        from collections import Counter

        from mace_core.config import load_settings
        from mace_core.conventions import ROLE
        from mace_core.seed.prepare import prepare_seed as prepare
        from mace_core.storage import read_json

        labelled = [entry["path"] for entry in read_json(plan).get("labelled", [])]
        roles = Counter(frame.info[ROLE] for frame in prepare(load_settings(plan), labelled, out))
        print(f"gen 0 · {roles['seed']} seed frames, {roles['isolated']} isolated atoms → {out}")
