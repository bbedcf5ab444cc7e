"""`maceloop label` and `maceloop merge-labels`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the subcommands of labelling."""

    @app.command("label")
    def label(
        frames: Annotated[Path, typer.Option(help="extxyz to be labelled")],
        config: Annotated[Path, typer.Option(help="configuration (YAML), or a plan.json")],
        out: Annotated[Path, typer.Option(help="extxyz with REF_* and label_status")],
        store: Annotated[Path | None, typer.Option(help="[default: campaign.label_store]")] = None,
        batch: Annotated[str | None, typer.Option(help="b/N: every N-th frame from b on")] = None,
        retry_failed: Annotated[bool, typer.Option(help="compute failed frames again")] = False,
        threads: Annotated[int, typer.Option(min=1, help="of the engine")] = 1,
    ) -> None:
        """Label frames with the configured engine; what the store holds is not computed again.

        Frames that cannot be labelled are outcomes too: the command succeeds with them.
        """
        from mace_core.label.command import label_file

        label_file(frames, config, out, store, batch, retry_failed=retry_failed, threads=threads)

    @app.command("merge-labels")
    def merge_labels(
        plan: Annotated[Path, typer.Option(help="the generation's plan.json")],
        frames: Annotated[Path, typer.Option(help="the selected frames")],
        out: Annotated[Path, typer.Option(help="merged.json")],
        batches: Annotated[list[Path] | None, typer.Argument(help="label/batch_*.extxyz")] = None,
    ) -> None:
        """Merge label batches; fails unless exactly the selected frames were labelled."""
        from mace_core.label.ladder import FIRST_RUNG
        from mace_core.label.merge import merge_labels
        from mace_core.storage import read_json, write_json

        merged = merge_labels(read_json(plan), frames, batches or [])
        write_json(out, merged)
        counts = ", ".join(f"{n} {status}" for status, n in merged["counts"].items()) or "none"
        rungs = Counter(
            label["rung"]
            for label in merged["labels"]
            if label["status"] == "converged" and label["rung"] not in (None, FIRST_RUNG)
        )
        later = "".join(f", {n} by rung {rung}" for rung, n in sorted(rungs.items()))
        seconds = merged["wall_seconds"]
        print(f"gen {merged['generation']} · labels · {counts}{later} · {seconds:.0f} s")
