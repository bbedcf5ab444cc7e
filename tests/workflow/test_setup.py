"""What `make` promises, without installing anything."""

import re
import subprocess

from campaigns import REPOSITORY


def dry(target: str) -> str:
    command = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(
        command, cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout


def test_every_target_sets_up_by_itself():
    for target in ("install", "demo", "test", "lint", "format"):
        assert "scripts/setup.sh" in dry(target)
    assert "snakemake --cores" in dry("demo")


def test_test_runs_every_check():
    said = dry("test")
    for check in (
        "ruff check",
        "ruff format --check",
        "snakefmt --check",
        "lint-imports",
        "pytest",
    ):
        assert check in said


def test_constraints_pin_every_dependency():
    def name(line):
        return re.split(r"[<>=!\[;]", line)[0].strip().lower().replace("_", "-")

    pinned = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = {name(line): line for line in pinned if not line.startswith("#")}
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in pins.values())
    project = (REPOSITORY / "pyproject.toml").read_text()
    groups = re.findall(r"^(?:dependencies|dev) = \[(.*?)^\]", project, re.M | re.S)
    asked = [name(line) for group in groups for line in re.findall(r'"(.+?)"', group)]
    assert len(asked) > 20 and set(asked) <= set(pins), set(asked) - set(pins)
