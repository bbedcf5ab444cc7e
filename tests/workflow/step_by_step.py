"""A campaign step by step with the commands that the rules call, in this process."""

import json
from pathlib import Path

from typer.testing import CliRunner

from mace_core.cli.main import build
from mace_core.config.campaign import parse_config
from mace_core.layout import Layout

#: A cell of copper, labelled by EMT, and a small model.
COPPER = {
    "labeller": {"engine": "emt"},
    "seed": {"structures": ["copper.xyz"], "strain_max": 0.0},
    "data": {"valid_fraction": 0.2},
    "model": {
        "r_max": 4.0,
        "num_radial_basis": 6,
        "max_ell": 2,
        "correlation": 2,
        "num_interactions": 1,
        "num_channels": 8,
        "max_L": 0,
        "MLP_irreps": "8x0e",
        "radial_MLP": [16, 16],
    },
    "train": {"members": 2, "batch_size": 4, "eval_interval": 5, "default_dtype": "float32"},
    "tracking": {"enabled": False},
}


class StepByStep:
    """Runs in the present folder; ``values`` are laid over :data:`COPPER`."""

    def __init__(self, name: str, **values):
        sections = {"campaign": {"name": name, "seed": 1}} | COPPER
        for section, keys in values.items():
            sections[section] = sections.get(section, {}) | keys
        self.config = parse_config(sections, where="test")
        Path("config.yaml").write_text(self.config.model_dump_json())
        self.layout = Layout(self.config.campaign.results_dir, name)

    def __call__(self, *words) -> str:
        done = CliRunner().invoke(build(), [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def label(self, g: int) -> None:
        plan, frames, at = self.layout.plan(g), self.layout.selected(g), self.layout
        store, batch = self.config.campaign.label_store, at.label_batch(g, 0)
        self("label", "--frames", frames, "--config", plan, "--store", store, "--out", batch)
        self("merge-labels", "--plan", plan, "--frames", frames, "--out", at.merged(g), batch)

    def start(self) -> dict:
        """Generation 0; its assess.json."""
        at = self.layout
        self("plan", "--config", "config.yaml", "--generation", 0, "--out", at.plan(0))
        self("prepare-seed", "--plan", at.plan(0), "--out", at.selected(0))
        self.label(0)
        self("assess", "--plan", at.plan(0), "--merged", at.merged(0), "--out", at.assess(0))
        return json.loads(at.assess(0).read_text())

    def generation(self, g: int) -> dict:
        """Generation ``g``; its assess.json."""
        self.walk(g)
        self.label(g)
        return self.assess(g)

    def walk(self, g: int) -> None:
        """Generation ``g`` up to the frames selected."""
        at, plan, data = self.layout, self.layout.plan(g), self.layout.dataset(g)
        train, valid = data / "train.extxyz", data / "valid.extxyz"
        committee = at.committee(g)
        self("plan", "--config", "config.yaml", "--generation", g, "--out", plan)
        before = [word for h in range(g) for word in ("--assess", at.assess(h))]
        before += ["--ledger", at.dataset(g - 1) / "ledger.parquet"] if g > 1 else []
        merged = [at.merged(h) for h in range(g)]
        self("build-dataset", "--plan", plan, *before, "--out", data, "--merged", *merged)
        members = [at.member(g, m) for m in range(self.config.train.members)]
        for m, folder in enumerate(members):
            common = ("--train", train, "--valid", valid, "--config", plan)
            self("train", *common, "--member", m, "--out", folder)
        self("calibrate", "--plan", plan, "--valid", valid, "--out", committee, *members)
        sizes = json.loads(plan.read_text())["sizes"]
        walkers = [at.walker(g, w) for w in range(sizes["walkers"])]  # the final exam's too
        models = ("--plan", plan, "--committee", committee, "--train", train)
        for w, path in enumerate(walkers):
            self("explore", *models, "--valid", valid, "--walker", w, "--out", path)
        self("select", *models, "--out", at.selected(g), *walkers)

    def assess(self, g: int) -> dict:
        """From generation ``g``'s labels on; its assess.json."""
        at, select = self.layout, self.layout.selected(g).parent / "select.json"
        found = ("--plan", at.plan(g), "--merged", at.merged(g), "--committee", at.committee(g))
        found += ("--select", select)
        self("recheck", *found, "--out", at.recheck(g))
        self("assess", *found, "--recheck", at.recheck(g), "--out", at.assess(g))
        return json.loads(at.assess(g).read_text())
