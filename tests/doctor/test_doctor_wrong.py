"""What only the doctor looks at: stores that do not answer, a scheduler, memory, one label."""

import math
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from ase.build import bulk
from ase.io import write

from mace_core.config.campaign import parse_config
from mace_core.doctor import examine, machine, scheduler
from mace_core.errors import UserError

CONFIG = {
    "campaign": {"name": "c"},
    "labeller": {"engine": "emt"},
    "seed": {"structures": ["cu.xyz"]},
    "tracking": {"enabled": False},
}
SLURM = {
    "executor": "slurm",
    "default-resources": {"slurm_partition": "main", "mem_mb": "2000 * attempt", "runtime": 60},
    "set-resources": {
        "label_batch": {"mem_mb": "8000 * attempt", "runtime": "480 * attempt"},
        "train_member": {"slurm_partition": "gpu"},
    },
}
GENERIC = {"executor": "cluster-generic", "cluster-generic-submit-cmd": "qsub -l x={threads}"}


def changed(base, **sections):
    return base | {name: base.get(name, {}) | keys for name, keys in sections.items()}


def mine(name):
    return {"engine": "ase", "calculator": f"broken_calculators:{name}"}


#: name: (configuration, profile or None, what the message must hold)
WRONG = {
    "label that does not converge": (
        CONFIG | {"labeller": mine("Unconverged")},
        None,
        ("one label was tried (Cu4, 4 atoms)", "unconverged", "take labeller settings"),
    ),
    "label that takes too long": (
        CONFIG | {"labeller": mine("Hanging") | {"time_limit": 0.5}},
        None,
        ("timeout", "0.5 s", "raise labeller.time_limit"),
    ),
    "label that kills its engine": (
        CONFIG | {"labeller": mine("Crashing")},
        None,
        ("failed", "SIGKILL", "for want of memory", "read the engine's output"),
    ),
    "label with a force that nothing bears": (
        changed(CONFIG, labeller={"max_force": 1e-9}, seed={"structures": ["water.xyz"]}),
        None,
        ("quarantined", "labeller.max_force", "raise the limit"),
    ),
    "no such profile": (CONFIG, "gone", ("--profile", "gone", "no such profile", "slurm")),
    "profile that is not YAML": (CONFIG, "{executor: [", ("--profile", "not YAML", "mend")),
    "executor without its plugin": (
        CONFIG,
        {"executor": "kubernetes"},
        ("executor", "kubernetes", "pip install snakemake-executor-plugin-kubernetes"),
    ),
    "no such queue here": (
        CONFIG,
        GENERIC,
        ("executor", "cluster-generic", "qsub not on PATH", "login node"),
    ),
    "partition that does not exist": (
        CONFIG,
        SLURM,
        ("set-resources.train_member.partition", "'gpu'", "there are long, main", "name one"),
    ),
    "longer than the partition allows": (
        CONFIG,
        SLURM | {"set-resources": {"label_batch": {"runtime": 481}}},
        ("set-resources.label_batch.runtime", "481", "after 480 minutes", "another partition"),
    ),
    "label that does not fit into its job's memory": (
        CONFIG
        | {"labeller": {"engine": "pyscf", "max_memory": 9000}, "seed": {}}
        | {"seed": {"structures": ["water.xyz"]}},
        SLURM | {"set-resources": {"label_batch": {"mem_mb": "8000 * attempt"}}},
        ("labeller.max_memory", "9000", "a label job gets 8000 MB", "mem_mb"),
    ),
    "label that does not fit into its job's time": (
        changed(CONFIG, labeller={"time_limit": 7200}),
        SLURM | {"set-resources": {}},
        ("labeller.time_limit", "7200", "ends after 60 minutes", "runtime"),
    ),
    "label that does not fit into this machine": (
        CONFIG
        | {"labeller": {"engine": "pyscf", "max_memory": 10**9}}
        | {"seed": {"structures": ["water.xyz"]}},
        None,
        ("labeller.max_memory", "1000000000", "this machine has", "another machine"),
    ),
    "tracking server that is down": (
        changed(CONFIG, tracking={"enabled": True, "uri": "http://127.0.0.1:{free}"}),
        None,
        ("tracking.uri", "nothing answers", "mlflow server", "maceloop sync"),
    ),
    "tracking server that is something else": (
        changed(CONFIG, tracking={"enabled": True, "uri": "http://127.0.0.1:{other}"}),
        None,
        ("tracking.uri", "cannot be written", "the server's log"),
    ),
    "tracking database that is damaged": (
        changed(CONFIG, tracking={"enabled": True, "uri": "sqlite:///garbage.db"}),
        None,
        ("tracking.uri", "garbage.db", "file is not a database", "move the file away"),
    ),
    "tracking database of something else": (
        changed(CONFIG, tracking={"enabled": True, "uri": "sqlite:///other.db"}),
        None,
        ("tracking.uri", "other.db", "something else", "name another file"),
    ),
    "tracking database that another process holds": (
        changed(CONFIG, tracking={"enabled": True, "uri": "sqlite:///held.db"}),
        None,
        ("tracking.uri", "held.db", "database is locked", "close what holds it"),
    ),
}

CALCULATORS = """
import os, signal, time
from ase.calculators.calculator import SCFError
from ase.calculators.emt import EMT

class Unconverged(EMT):
    def calculate(self, *args, **kwargs):
        print("no convergence in 5 cycles")
        raise SCFError("no convergence")

class Hanging(EMT):
    def calculate(self, *args, **kwargs):
        time.sleep(60)

class Crashing(EMT):
    def calculate(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a Slurm that answers as a real one does."""
    from ase.build import molecule

    write(tmp_path / "cu.xyz", bulk("Cu", cubic=True), format="extxyz")
    write(tmp_path / "water.xyz", molecule("H2O"), format="extxyz")
    (tmp_path / "broken_calculators.py").write_text(CALCULATORS)
    (tmp_path / "garbage.db").write_text("no database\n" * 100)
    for name in ("other.db", "held.db"):
        with sqlite3.connect(tmp_path / name) as database:
            database.execute(
                "CREATE TABLE experiments (x)" if name == "held.db" else "CREATE TABLE recipes (x)"
            )
        database.close()
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, said in {
        "sinfo": "main 8:00:00\\nlong 2-00:00:00\\n",
        "sbatch": "",
        "scancel": "",
        "squeue": "",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\nprintf '{said}'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(
        tempfile, "tempdir", str(tmp_path / "tmp")
    )  # outputs of failures stay there
    monkeypatch.setattr("mace_core.track.probe._WAIT", 0.3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ports():
    """A port where nothing listens, and one where something answers that is no MLflow."""
    code = (
        "from http.server import *; s = HTTPServer(('127.0.0.1', 0), BaseHTTPRequestHandler); "
        "print(s.server_port, flush=True); s.serve_forever()"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        free = unused.getsockname()[1]
    yield {"free": free, "other": int(server.stdout.readline())}
    server.kill()
    server.communicate()


@pytest.mark.parametrize("name", WRONG)
def test_wrong(name, folder, ports, monkeypatch):
    config, profile, words = WRONG[name]
    if profile is not None and profile != "gone":
        (folder / "gone").mkdir()
        text = profile if isinstance(profile, str) else yaml.safe_dump(profile)
        (folder / "gone" / "config.yaml").write_text(text)
    if config["labeller"]["engine"] == "pyscf":
        monkeypatch.setattr("mace_core.config.checks.engine.check_engine", lambda *_: None)
    text = yaml.safe_dump(config)
    for which, port in ports.items():
        text = text.replace(f"{{{which}}}", str(port))
    config = parse_config(yaml.safe_load(text), where="test")
    holder = sqlite3.connect(folder / "held.db")
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(UserError) as caught:
            list(examine(config, profile="gone" if profile else None, forecast=False))
    finally:
        holder.close()
    for word in words:
        assert word in str(caught.value), caught.value


def test_what_is_wrong_with_stores_comes_with_the_rest(folder):
    config = changed(
        CONFIG,
        tracking={"enabled": True, "uri": "sqlite:///garbage.db"},
        train={"device": "gpu"},
    )
    with pytest.raises(UserError) as caught:
        list(examine(parse_config(config, where="test"), profile="gone"))
    said = str(caught.value)
    assert said.startswith("3 problems")
    for key in ("train.device", "tracking.uri", "--profile"):
        assert key in said


def test_nothing_is_computed_while_something_is_wrong(folder, monkeypatch):
    monkeypatch.setattr(
        "mace_core.doctor.examination.trial_label", lambda *_: pytest.fail("computed")
    )
    config = changed(CONFIG, train={"device": "gpu"})
    with pytest.raises(UserError):
        list(examine(parse_config(config, where="test")))


def test_a_good_profile_and_one_label(folder):
    values = SLURM | {
        "set-resources": {"label_batch": {"slurm_partition": "long", "runtime": 2000}}
    }
    (folder / "profile").mkdir()
    (folder / "profile" / "config.yaml").write_text(yaml.safe_dump(values))
    config = changed(CONFIG, tracking={"enabled": True, "uri": "sqlite:///new/mlflow.db"})
    before = sorted(path.name for path in folder.rglob("*"))
    lines = "\n".join(
        examine(parse_config(config, where="test"), profile="profile", forecast=False)
    )
    for words in (
        *("sbatch, scancel, squeue found", "partitions: long, main", "store: will be made"),
        "one label end to end (Cu4, 4 atoms): energy, forces, stress in",
    ):
        assert words in lines
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_output_of_a_failed_label_is_kept(folder):
    config = CONFIG | {"labeller": mine("Unconverged")}
    with pytest.raises(UserError) as caught:
        list(examine(parse_config(config, where="test")))
    outputs = Path(caught.value.where.rpartition("what it wrote: ")[2])
    try:
        assert "no convergence in 5 cycles" in next(outputs.rglob("output.txt")).read_text()
    finally:
        shutil.rmtree(outputs.parents[2])


def test_many_labels_at_once_may_need_more_memory_than_there_is(folder, monkeypatch):
    monkeypatch.setattr(machine, "total_memory", lambda: 6e9)
    config = parse_config(
        CONFIG | {"labeller": {"engine": "pyscf"}, "seed": {"structures": ["water.xyz"]}},
        where="test",
    )
    lines = "\n".join(examine(config, cores=2, label=False, forecast=False))
    assert "2 labels at once may need 8000 MB" in lines
    assert machine.too_large(2e9, 4, "a label") is not None
    assert machine.too_large(2e9, 2, "a label") is None


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [("8:00:00", 480), ("30:00", 30), ("2-00:00:00", 2880), ("1-12", 2160), ("infinite", math.inf)],
)
def test_limits_as_sinfo_writes_them(limit, minutes):
    assert scheduler._minutes(limit) == minutes
