"""The steps of a campaign of n frames, one after the other in this process: seconds and memory.

Frames are rattled copper with EMT labels; walks are made up: rattled frames with a random spread.
"""

import contextlib
import io
import json
import resource
import sys
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

from mace_core.config.campaign import parse_config
from mace_core.frames import canonical, write_frames
from mace_core.layout import Layout
from mace_core.plan import read_plan, write_plan
from mace_core.storage import write_json


def configuration(n_seed: int, n_later: int, **sections) -> dict:
    values = {
        "campaign": {"name": "scale", "max_generations": 50},
        "labeller": {"engine": "emt"},
        "seed": {"structures": ["cu.xyz"], "n_frames": n_seed, "rattle_std": [0.1]},
        "data": {"valid_fraction": 0.1},
        "model": {"num_channels": 4, "max_L": 0, "max_ell": 1, "correlation": 1, "r_max": 4.0}
        | {"radial_MLP": [8], "num_interactions": 2},
        "train": {"members": 2, "max_num_epochs": 1, "batch_size": 50},
        "explore": {"walkers": 4, "steps": 10 * max(1, n_later // 2), "save_interval": 10},
        "select": {"max_frames": n_later, "audit_frames": 8, "window": [0.001, 1e6]}
        | {"min_distance": 0.0},
        "label": {"batch_size": 100},
        "stop": {"max_labels": 10**6},
        # MLflow keeps one connection a URI in a process.
        "tracking": {"uri": f"sqlite:///mlflow-{n_seed}.db"},
    }
    return values | {name: values.get(name, {}) | keys for name, keys in sections.items()}


def cpu() -> float:
    """CPU seconds of this process and of its finished children: other work does not disturb it."""
    ours, theirs = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime


@contextlib.contextmanager
def counted_calls():
    """A list that gets the name of every call of MLflow's client."""
    from mace_core.track import project

    calls, real = [], project.open_client

    class Counting:
        def __init__(self, client):
            self.client = client

        def __getattr__(self, name):
            calls.append(name)
            return getattr(self.client, name)

    project.open_client = lambda tracking: Counting(real(tracking))
    try:
        yield calls
    finally:
        project.open_client = real


class Clock:
    """CPU seconds and this process's peak memory (MB) by step; and calls of MLflow's client."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.memory: dict[str, float] = {}
        self.mlflow_calls: list[int] = []

    @contextlib.contextmanager
    def step(self, name: str):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        began = cpu()
        with contextlib.redirect_stdout(io.StringIO()):
            yield
        spent = cpu() - began
        print(f"  {name}: {spent:.1f} s of CPU", file=sys.stderr, flush=True)
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self.memory[name] = max(self.memory.get(name, 0.0), peak())


def peak() -> float:
    """MB that this process has had at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def steps(n: int) -> Clock:
    """Generation 0 of n frames, and generation 1 that trains on n, visits 2 n and labels n."""
    from mace_core.assess.committee import calibrate_committee
    from mace_core.assess.generation import assess_generation
    from mace_core.dataset import build_dataset
    from mace_core.label.command import label_file
    from mace_core.label.merge import merge_labels
    from mace_core.report import write_report
    from mace_core.seed.prepare import prepare_seed
    from mace_core.select.run import select
    from mace_core.summary import write_summary
    from mace_core.track import track
    from mace_core.train.member import train_member

    clock = Clock()
    write("cu.xyz", bulk("Cu", cubic=True) * (2, 1, 1), format="extxyz")
    config = parse_config(configuration(n, n), where="scale")
    layout = Layout(config.campaign.results_dir, config.campaign.name)

    def labelled(g: int) -> None:
        batch, plan = layout.label_batch(g, 0), read_plan(layout.plan(g))
        with clock.step(f"label, generation {g}"):
            label_file(layout.selected(g), layout.plan(g), batch)
        with clock.step("label again, all from the store"):
            label_file(layout.selected(g), layout.plan(g), batch)
        with clock.step("merge_labels"):
            write_json(layout.merged(g), merge_labels(plan, layout.selected(g), [batch]))

    write_plan(config, 0, layout.plan(0))
    with clock.step("prepare_seed"):
        prepare_seed(config, [], layout.selected(0))
    labelled(0)
    with clock.step("assess, generation 0"):
        assess_generation(read_plan(layout.plan(0)), layout.merged(0), layout.assess(0))
    plan, _ = write_plan(config, 1, layout.plan(1))
    dataset, train = layout.dataset(1), layout.dataset(1) / "train.extxyz"
    with clock.step("build_dataset"):
        build_dataset(layout.plan(1), [layout.merged(0)], dataset, [layout.assess(0)])
    members = [layout.member(1, m) for m in range(config.train.members)]
    for m, folder in enumerate(members):
        with clock.step("train_member, one epoch of two members"):
            train_member(
                train, layout.plan(1), folder, valid_file=dataset / "valid.extxyz", member=m
            )
    with clock.step("calibrate"):
        calibrate_committee(plan, dataset / "valid.extxyz", layout.committee(1), members)
    walkers = made_up_walks(layout, config, 2 * n)
    with clock.step("select_frames"):
        select(config, 1, layout.committee(1), train, walkers, layout.selected(1))
    labelled(1)
    with clock.step("assess, generation 1"):
        assess_generation(
            plan,
            layout.merged(1),
            layout.assess(1),
            layout.committee(1),
            layout.gen(1) / "select" / "select.json",
        )
    with clock.step("summary"):
        write_summary(layout, config)
    with clock.step("report"):
        write_report(config, 1, layout.report(1))
    for g in (0, 1):
        with clock.step(f"track, generation {g}"), counted_calls() as calls:
            assert track(config, g)["synced"]
        clock.mlflow_calls.append(len(calls))
    with clock.step("track again, nothing new"), counted_calls() as calls:
        assert track(config)["created"] == []
    clock.mlflow_calls.append(len(calls))
    return clock


def made_up_walks(layout: Layout, config, n: int) -> list[Path]:
    """Walkers' files with n frames in all."""
    rng, paths = np.random.default_rng(1), []
    start = bulk("Cu", cubic=True) * (2, 1, 1)
    for w in range(config.explore.walkers):
        frames = []
        for k in range(n // config.explore.walkers):
            frame = start.copy()
            frame.positions += rng.normal(scale=0.15, size=frame.positions.shape)
            frame = canonical(frame)
            frame.info |= {"walker": w, "group": "300K", "md_step": 10 * (k + 1)}
            frame.info |= {"MACE_energy": 0.0, "MACE_uncertainty": 0.1}
            frame.arrays["MACE_forces"] = np.zeros((len(frame), 3))
            frame.arrays["MACE_forces_std"] = rng.uniform(0.01, 0.2, len(frame))
            frames.append(frame)
        write_frames(layout.walker(1, w), frames)
        end = {"walker": w, "group": "300K", "temperature": 300.0, "end": "completed"}
        end |= {"reason": "made up", "steps_done": len(frames), "steps_asked": len(frames)}
        end |= {"time_fs": 1.0, "start_frame": "", "last_good_step": 1, "end_step": 1}
        end |= {"max_uncertainty": 0.2, "mean_temperature": 300.0, "n_frames": len(frames)}
        write_json(layout.walker(1, w).with_suffix(".json"), end | {"wall_seconds": 1.0})
        paths.append(layout.walker(1, w))
    return paths


def main() -> None:
    clock = steps(int(sys.argv[1]))
    print(json.dumps(vars(clock)))


if __name__ == "__main__":
    main()
