"""A stand-in for the `maceloop` command: writes files of the contract's shape at once.

Standard library only, run with ``python -S``, so that a whole campaign takes seconds. It is
directed by ``fake.json`` in the working directory:

    hold: ["rule 01"] these commands write their first output, write ``held``, and wait while they
                      are asked to
    fail: ["rule 01"] these commands fail
    select: int       frames picked in each generation (default 4), two audit frames beside them
    converge_at: int  generation that converges (default: none does)

Every call is a line in ``calls``; every label computed is a line in the file $MACELOOP_CALL_LOG.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from pathlib import Path


def read(path):
    return json.loads(Path(path).read_text())


def write(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    part.write_text(text)
    part.replace(path)


def append(path, line):
    with open(path, "a") as handle:
        handle.write(line + "\n")


def directions():
    return read("fake.json") if Path("fake.json").exists() else {}


class Step:
    """One call: writes its outputs one by one, and stops between them when told to."""

    def __init__(self, rule, gen):
        self.rule, self.gen = rule, gen
        append("calls", f"{rule} {gen}")
        append("threads", f"{rule} {os.environ['OMP_NUM_THREADS']}/{os.environ['MKL_NUM_THREADS']}")
        if self.told("fail"):
            print("half done")
            sys.exit(f"maceloop: {rule} was told to fail")

    def told(self, what):
        return f"{self.rule} {self.gen}" in directions().get(what, [])

    def pause(self):
        if self.told("hold"):
            write("held", f"{self.rule} {self.gen}")
            end = time.monotonic() + 300  # no test waits that long
            while self.told("hold") and time.monotonic() < end:
                time.sleep(0.02)

    def write(self, path, value):
        write(path, value if isinstance(value, str) else json.dumps(value))
        self.pause()


def plan(args):
    g = int(args.generation)
    step = Step("plan", f"{g:02d}")
    if Path(args.out).exists():
        return step.pause()
    config = read(args.config)
    frames = config["select"]["max_frames"] + config["select"]["audit_frames"] if g else 6
    n_batches = -(-frames // config["label"]["batch_size"])
    step.write(
        args.out,
        {
            "format": 1,
            "campaign": config["campaign"]["name"],
            "generation": g,
            "config": config,
            "sizes": {
                "members": config["train"]["members"] if g else 0,
                "walkers": config["explore"]["walkers"] if g else 0,
                "label_batches": n_batches,
            },
            "theory": Path("theory").read_text(),
            "labelled": [
                {"path": p, "sha256": hashlib.sha256(Path(p).read_bytes()).hexdigest()}
                for p in config.get("data", {}).get("labelled", [])
            ],
            "calibration": None,
            "warm_start": None,
            "labels_spent": 0,
        },
    )


def prepare_seed(args):
    Step("prepare_seed", "00").write(args.out, "seed-0\nseed-1\nseed-2\n")


def build_dataset(args):
    step = Step("build_dataset", gen_of(args.plan))
    frozen = read(args.plan)
    assessed = [read(path)["generation"] for path in args.assess]
    assert assessed == list(range(frozen["generation"])), assessed
    last = frozen["generation"] - 1
    if last:
        assert args.ledger.endswith(f"gen_{last:02d}/dataset/ledger.parquet"), args.ledger
        assert Path(args.ledger).exists()
    else:
        assert args.ledger is None
    ids = [label["frame_id"] for path in args.merged for label in read(path)["labels"]]
    ids += [item["sha256"] for item in frozen["labelled"]]
    out = Path(args.out)
    step.write(out / "train.extxyz", "".join(f"{i}\n" for i in ids))
    step.write(out / "valid.extxyz", "")
    step.write(out / "ledger.parquet", "")
    step.write(out / "ledger.csv", "")
    digest = hashlib.sha256("".join(sorted(ids)).encode()).hexdigest()
    step.write(out / "dataset.json", {"n_train": len(ids), "n_valid": 0, "sha256": digest})


def train(args):
    step = Step("train_member", gen_of(args.config))
    epochs = read(args.config)["config"]["train"]["max_num_epochs"]
    out = Path(args.out)
    for name in ("model.safetensors", "model.json", "history.parquet", "history.csv"):
        step.write(out / name, "")
    step.write(out / "metrics.json", {"epochs": epochs})
    print(f"gen {step.gen} · member {args.member} · epoch {epochs}/{epochs}", flush=True)


def calibrate(args):
    Step("calibrate", gen_of(args.plan)).write(args.out, {"members": args.models})


def explore(args):
    step = Step("explore_md", gen_of(args.plan))
    step.write(args.out, f"{step.gen}-{args.walker}\n")
    step.write(
        Path(args.out).with_suffix(".json"), {"walker": int(args.walker), "end": "completed"}
    )


def select(args):
    step = Step("select_frames", gen_of(args.plan))
    known = set(Path(args.train).read_text().split())
    told = directions().get("select", 4)
    ids = [f"{step.gen}-{n}" for n in range(told + 2 if told else 0)]
    assert not known & set(ids)
    step.write(args.out, "".join(f"{i}\n" for i in ids))
    folder = Path(args.out).parent
    for name in ("candidates.parquet", "candidates.csv"):
        step.write(folder / name, "")
    step.write(folder / "select.json", {"picked": told, "audit": 2})


def label(args):
    step = Step("label_batch", gen_of(args.config))
    append("label_threads", args.threads)
    b, n = map(int, args.batch.split("/"))
    lines = []
    for frame in Path(args.frames).read_text().split()[b::n]:
        record = Path(args.store) / f"{frame}.json"
        computed = not record.exists()
        if computed:
            append(os.environ["MACELOOP_CALL_LOG"], frame)
            write(record, "{}")
        lines.append(f"{frame}\n")
        step.pause()
    step.write(args.out, "".join(lines))


def merge_labels(args):
    step = Step("merge_labels", gen_of(args.plan))
    asked = sorted(Path(args.frames).read_text().split())
    got = sorted(i for batch in args.batches for i in Path(batch).read_text().split())
    if asked != got:
        sys.exit(f"maceloop: labelled {got}, selected {asked}")
    step.write(args.out, {"labels": [{"frame_id": i} for i in got], "calls": len(got)})


def recheck(args):
    step = Step("recheck_labels", gen_of(args.plan))
    append("label_threads", args.threads)
    for kind in ("audit", "picked", "frozen"):
        step.write(Path(args.out).parent / "scored" / f"{kind}.extxyz", "")
    step.write(args.out, {"rechecks": []})


def assess(args):
    step = Step("assess_generation", gen_of(args.plan))
    for given in (args.committee, args.recheck):
        assert (given is None) == (step.gen == "00")
    g = int(step.gen)
    write(Path(args.out).parents[1] / "summary.json", "{}")
    mae = 0.001 if g == directions().get("converge_at") else 0.7**g
    errors = {"n_frames": 2, "force_mae": mae, "force_mae_high": 1.2 * mae}
    parts = {"n": 2, "force_mae": mae, "force_mae_high": 1.2 * mae}
    about = {"generation": g, "stratum": "crystal.xyz", "group": "300K", "exam": False}
    row = about | {"force_mae": mae, "spread": mae, "energy_error": mae / 10}
    walk = about | {"end": "completed", "n_frames": 9, "spread": {"all": mae, "Cu": mae}}
    step.write(
        args.out,
        {
            "format": 1,
            "generation": g,
            "outcome": "continue",  # the workflow decides again, by mace_core.assess.decide
            "labels": {"converged": 6, "total_calls": 6 * (g + 1)},
            "calibration": {"factor": 1.0},
            "audit": {**errors, "by_element": {"Cu": parts}, "by_group": {"300K": parts}},
            "audit_frames": [row | {"walker": w, "frame_id": f"{g}-{w}"} for w in (0, 1)],
            "walks": [walk | {"walker": w} for w in (0, 1)],
            "dataset": {"strata": {"crystal.xyz": {}}},
            "walkers": {"stable_fraction": 1.0},
            "selection": {"candidates": read(args.select)["picked"]} if g else None,
        },
    )


def track(args):
    step = Step("track_generation", f"{int(args.through):02d}")
    step.write(args.out, {})


def report(args):
    step = Step("report", f"{int(args.through):02d}")
    step.write(args.out, "<html>")


def summary(args):
    append("calls", "summary -")
    print("summary of", read(args.config)["campaign"]["name"], flush=True)


def gen_of(plan_path):
    return f"{read(plan_path)['generation']:02d}"


COMMANDS = {
    "plan": (plan, ["--config", "--generation", "--out"]),
    "prepare-seed": (prepare_seed, ["--plan", "--out"]),
    "build-dataset": (build_dataset, ["--plan", "--merged*", "--assess+", "--ledger?", "--out"]),
    "train": (train, ["--train", "--valid", "--config", "--member", "--out"]),
    "calibrate": (calibrate, ["--plan", "--valid", "--out", "models*"]),
    "explore": (explore, ["--plan", "--committee", "--train", "--valid", "--walker", "--out"]),
    "select": (select, ["--plan", "--committee", "--train", "--out", "walkers*"]),
    "label": (label, ["--frames", "--config", "--store", "--batch", "--threads", "--out"]),
    "merge-labels": (merge_labels, ["--plan", "--frames", "--out", "batches*"]),
    "recheck": (
        recheck,
        ["--plan", "--merged", "--committee", "--select", "--threads", "--out"],
    ),
    "assess": (assess, ["--plan", "--merged", "--committee?", "--select?", "--recheck?", "--out"]),
    "track": (track, ["--config", "--through", "--out"]),
    "report": (report, ["--config", "--through", "--out"]),
    "summary": (summary, ["--config"]),
}


def main():
    command, names = COMMANDS[sys.argv[1]]
    parser = argparse.ArgumentParser(prog=f"maceloop {sys.argv[1]}", allow_abbrev=False)
    for name in names:
        bare = name.rstrip("*+?")
        options = {"*": {"nargs": "+"}, "+": {"action": "append"}}.get(name[-1], {})
        if bare.startswith("--") and not name.endswith("?"):
            options["required"] = True
        parser.add_argument(bare, **options)
    command(parser.parse_args(sys.argv[2:]))


if __name__ == "__main__":
    main()
