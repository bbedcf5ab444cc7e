"""Campaigns run by the real Snakemake, with the fake `maceloop` or with the real one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from mace_core.config.campaign import parse_config
from mace_core.label.theory import theory_id
from mace_core.layout import Layout

REPOSITORY = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


class Campaign:
    """One campaign in a folder of its own, and the snakemake that drives it."""

    def __init__(self, folder: Path, values: dict, path: str):
        self.folder, self.values = folder, values
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yaml"
        self.calls_log = folder / "label_calls"
        self.env = os.environ | {"PATH": path, "MACELOOP_CALL_LOG": str(self.calls_log)}
        self.layout = Layout(folder / "results", values["campaign"]["name"])
        self.set({})

    def set(self, changes: dict) -> None:
        """Change the configuration: ``{"train.members": 3}``. Written whole, for the fake."""
        for key, value in changes.items():
            section, name = key.split(".")
            self.values.setdefault(section, {})[name] = value
        config = parse_config(self.values, where="test")
        self.config.write_text(config.model_dump_json())
        (self.folder / "theory").write_text(theory_id(config.labeller))

    def command(self, *options: str) -> list[str]:
        return [
            str(BIN / "snakemake"),
            "--snakefile",
            str(REPOSITORY / "Snakefile"),
            "--configfile",
            str(self.config),
            "--cores",
            "2",
            *options,
        ]

    def run(self, *options: str, code: int | None = 0) -> str:
        """Run snakemake to its end; what it printed."""
        done = subprocess.run(
            self.command(*options),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,  # on a busy machine
        )
        assert code is None or done.returncode == code, done.stdout
        return done.stdout

    def start(self, *options: str) -> subprocess.Popen:
        """Start snakemake in a session of its own, its output in ``run.log``."""
        with open(self.folder / "run.log", "w") as log:
            return subprocess.Popen(
                self.command(*options),
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A suite in the background of a script ignores Ctrl-C, and so would its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def kill(self, snakemake: subprocess.Popen, *, with_children: bool) -> list[psutil.Process]:
        """``kill -9``; the children that live on."""
        children = psutil.Process(snakemake.pid).children(recursive=True)
        if with_children:
            # Snakemake first: it must not see its jobs fail and clean up after them.
            os.killpg(snakemake.pid, signal.SIGKILL)
            for child in children:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            psutil.wait_procs(children, timeout=10)
        else:
            snakemake.kill()
        snakemake.wait()
        return [] if with_children else children

    def direct(self, **directions) -> None:
        """Tell the fake what to do; replaces what it was told before."""
        part = self.folder / "fake.json.tmp"
        part.write_text(json.dumps(directions))
        part.replace(self.folder / "fake.json")

    def calls(self) -> Counter:
        """How often each rule ran, by (rule, generation)."""
        path = self.folder / "calls"
        lines = path.read_text().split("\n") if path.exists() else []
        return Counter(tuple(line.split()) for line in lines if line)

    def labelled(self) -> Counter:
        """How often each frame was computed."""
        return Counter(self.calls_log.read_text().split()) if self.calls_log.exists() else Counter()

    def datasets(self) -> list[str]:
        """The dataset's hash in each generation."""
        paths = sorted(self.layout.root.glob("gen_*/dataset/dataset.json"))
        return [json.loads(path.read_text())["sha256"] for path in paths]

    def wait_until_held(self, snakemake: subprocess.Popen) -> str:
        """Wait until the fake holds where it was told to; in which command."""
        held = self.folder / "held"
        self.wait_for(lambda: held.exists() or snakemake.poll() is not None)
        assert held.exists(), (self.folder / "run.log").read_text()
        where = held.read_text()
        held.unlink()
        return where

    def wait_for(self, condition, seconds: float = 300) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.folder / "run.log").read_text()
            time.sleep(0.02)
