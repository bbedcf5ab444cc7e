"""Every command of the README is run: here, or by `make demo` and `make test` themselves."""

import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml
from ase.build import molecule

REPOSITORY = Path(__file__).parents[1]
README = (REPOSITORY / "README.md").read_text()

#: Run by nothing but themselves.
OTHERWISE = {
    "git clone <this repository> maceloop && cd maceloop",
    "make demo",
    "make install",
    "make test",
    "source .venv/bin/activate",
}
MLFLOW = ".venv/bin/mlflow ui --backend-store-uri sqlite:///mlflow.db"
INIT = "maceloop init my_molecule.xyz"
DOCTOR = "maceloop doctor --config config/my_molecule.yaml"
CAMPAIGN = "snakemake --cores 2 --configfile config/my_molecule.yaml"
DISTILL = "maceloop distill results/ethanol/gen_03 --out results/ethanol/student"
SLURM = "snakemake --workflow-profile workflow/profiles/slurm --configfile config/my_molecule.yaml"

#: A campaign of a minute: what a user would change in the file that `maceloop init` wrote.
SMALL = {
    "campaign": {"max_generations": 1},
    "labeller": {"basis": "sto-3g"},
    "seed": {"n_frames": 6},
    "model": {"num_channels": 4, "max_L": 0, "max_ell": 1, "correlation": 2, "radial_MLP": [8]},
    "train": {"members": 2, "max_num_epochs": 5},
    "explore": {"walkers": 1, "steps": 20, "max_force_error": 10000},
    "select": {"max_frames": 2, "audit_frames": 2, "window": [50, 20000]},
}


def readme_commands() -> set[str]:
    blocks = re.findall(r"(?:^    .+\n)+", README, re.MULTILINE)
    lines = [line.split(" # ")[0].strip() for block in blocks for line in block.splitlines()]
    return {line for line in lines if line}


def test_every_command_of_the_readme_is_known_here():
    assert readme_commands() == OTHERWISE | {MLFLOW, INIT, DOCTOR, CAMPAIGN, DISTILL, SLURM}


def test_commands_and_keys_named_in_the_text_exist():
    listed = subprocess.run(
        ["maceloop", "--help"], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    for name in re.findall(r"`maceloop ([a-z-]+)", README):
        assert f" {name} " in listed
    defaults = yaml.safe_load((REPOSITORY / "config" / "schema.json").read_text())
    for section, key in re.findall(r"`(campaign|data|labeller|train|stop)\.([a-z_]+)[`:]", README):
        assert f'"{key}"' in str(defaults).replace("'", '"'), f"{section}.{key}"


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path}


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A folder like a clone, with a molecule of the user's in it, and its campaign run."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("Snakefile", "workflow", "profiles"):
        (folder / name).symlink_to(REPOSITORY / name)
    (folder / "config").mkdir()
    molecule("H2O").write(folder / "my_molecule.xyz")
    assert "wrote config/my_molecule.yaml" in run(INIT, folder)
    assert "pyscf" in run(DOCTOR, folder)
    path = folder / "config" / "my_molecule.yaml"
    values = yaml.safe_load(path.read_text())
    for section, changes in SMALL.items():
        values[section] = values.get(section, {}) | changes
    path.write_text(yaml.safe_dump(values))
    return folder, run(CAMPAIGN, folder)


@pytest.mark.slow
@pytest.mark.campaign
def test_own_molecule(checkout):
    folder, printed = checkout
    assert "BUDGET SPENT" in printed
    assert (folder / "results" / "my_molecule" / "report.html").is_file()
    assert "Nothing to be done" in run(f"{CAMPAIGN} --dry-run", folder)
    assert "Nothing to be done" in run(f"{SLURM} --dry-run", folder)


@pytest.mark.slow
@pytest.mark.campaign
def test_python_example(checkout):
    folder, _ = checkout
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for published, here in (
        ("config/data/ethanol.xyz", "my_molecule.xyz"),
        ("results/ethanol/gen_03", "results/my_molecule/gen_01"),
    ):
        assert published in code
        code = code.replace(published, here)
    (folder / "example.py").write_text(code)
    assert "[[" in run(f"{sys.executable} example.py", folder)


@pytest.mark.slow
@pytest.mark.campaign
def test_distill(checkout):
    folder, _ = checkout
    command = DISTILL.replace("gen_03", "gen_01").replace("ethanol", "my_molecule")
    assert "audit (2 frames): one member" in run(command, folder)
    assert (folder / "results" / "my_molecule" / "student" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.campaign
def test_mlflow_ui(checkout):
    folder, _ = checkout
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*shlex.split(MLFLOW.removeprefix(".venv/bin/")), "--port", str(port)]
    server = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as page:
                    assert page.status == 200
                    break
            except OSError:
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.5)
    finally:
        os.killpg(server.pid, 9)
        server.wait()
