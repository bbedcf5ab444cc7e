"""Where everything of a campaign lies: ``results/<campaign>/…``, as the workflow names it."""

from pathlib import Path

#: Sets of frames that a committee is tested on.
SCORED = ("audit", "picked", "frozen")


class Layout:
    """Paths below one campaign's folder.

    All of it can be thrown away and rebuilt from the label store.
    """

    def __init__(self, results_dir: str | Path, campaign: str):
        self.root = Path(results_dir) / campaign

    def gen(self, g: int) -> Path:
        return self.root / f"gen_{g:02d}"

    def plan(self, g: int) -> Path:
        return self.gen(g) / "plan.json"

    def dataset(self, g: int) -> Path:
        """Folder with train.extxyz, valid.extxyz, dataset.json, ledger.parquet, ledger.csv."""
        return self.gen(g) / "dataset"

    def member(self, g: int, m: int) -> Path:
        """Folder with model.safetensors, model.json, metrics.json, history.parquet, history.csv."""
        return self.gen(g) / "train" / f"member_{m}"

    def committee(self, g: int) -> Path:
        return self.gen(g) / "train" / "committee.json"

    def walker(self, g: int, w: int) -> Path:
        """Visited frames (extxyz); how the walk ended lies beside it as .json."""
        return self.gen(g) / "explore" / f"walker_{w}.extxyz"

    def selected(self, g: int) -> Path:
        return self.gen(g) / "select" / "frames.extxyz"

    def label_batch(self, g: int, b: int) -> Path:
        return self.gen(g) / "label" / f"batch_{b}.extxyz"

    def merged(self, g: int) -> Path:
        return self.gen(g) / "label" / "merged.json"

    def recheck(self, g: int) -> Path:
        return self.gen(g) / "label" / "recheck.json"

    def scored(self, g: int) -> Path:
        """Folder with a file for each of :data:`SCORED`: REF_* and MACE_*."""
        return self.gen(g) / "label" / "scored"

    def assess(self, g: int) -> Path:
        return self.gen(g) / "assess.json"

    def predictions(self, g: int, kind: str) -> Path:
        """Frames with REF_* and MACE_*: kind is audit, picked, frozen or quarantine."""
        return self.gen(g) / "assess" / f"{kind}.extxyz"

    def tracked(self, g: int) -> Path:
        return self.gen(g) / "tracked.json"

    def report(self, g: int) -> Path:
        return self.gen(g) / "report.html"

    @property
    def summary(self) -> Path:
        return self.root / "summary.json"

    def assessed_generations(self) -> list[int]:
        """Generations 0, 1, … that have been assessed without a gap."""
        generations = []
        while self.assess(len(generations)).is_file():
            generations.append(len(generations))
        return generations
