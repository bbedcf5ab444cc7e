"""Campaigns whose snakemake submits its jobs to the Slurm of the tests."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import psutil
import yaml
from campaigns import BIN, REPOSITORY, Campaign
from slurm import Slurm

PROFILES = REPOSITORY / "workflow" / "profiles"


def site_profile(folder: Path, name: str, rules: dict[str, dict]) -> Path:
    """A profile as a site writes it: ours, with its partitions and limits.

    ``rules`` are entries of ``set-resources`` that are changed. What a real cluster need not ask
    for twice a second is asked for here.
    """
    profile = yaml.safe_load((PROFILES / name / "config.yaml").read_text())
    profile["default-resources"] |= {"slurm_partition": "cpu", "mem_mb": "1000 * attempt"}
    resources = profile["set-resources"]
    for rule in resources:
        resources[rule]["mem_mb"] = "1000 * attempt"
    resources["train_member"] |= {"slurm_partition": "gpu", "gres": "gpu:1"}
    for rule, values in rules.items():
        resources[rule] = resources.get(rule, {}) | values
    profile |= {"jobs": 8, "latency-wait": 10, "seconds-between-status-checks": 1}
    profile["max-status-checks-per-second"] = 20
    if name == "slurm":
        profile |= {
            "slurm-status-command": "squeue",
            "slurm-init-seconds-before-status-checks": 1,
        }
    place = folder / "profile"
    place.mkdir(parents=True)
    for path in (PROFILES / name).iterdir():
        if path.name != "config.yaml":
            (place / path.name).symlink_to(path)
    (place / "config.yaml").write_text(yaml.safe_dump(profile))
    return place


class ClusterCampaign(Campaign):
    """The campaign of config/test/emt.yaml on Slurm, with labels that are counted."""

    def __init__(
        self,
        slurm: Slurm,
        folder: Path,
        profile: str,
        rules: dict | None = None,
        template: Path | None = None,
    ):
        """``template``: a campaign's folder that this one goes on from."""
        self.slurm = slurm
        if template:
            shutil.copytree(template, folder, dirs_exist_ok=True)
        self.profile = site_profile(folder, profile, rules or {})
        super().__init__(folder, emt_values(), os.pathsep.join([str(BIN), os.environ["PATH"]]))
        count_labels(self)
        self._hold = self.folder / "hold"
        self.env["LABEL_HOLD"] = str(self._hold)

    def hold(self) -> None:
        """Let each label job wait after its first label, until :meth:`release`."""
        self._hold.touch()

    def release(self) -> None:
        self._hold.unlink()

    def command(self, *options: str) -> list[str]:
        return self.slurm.inside(
            *("env", f"--chdir={self.folder}"),  # a new place has a working directory of its own
            *(str(BIN / "snakemake"), "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--configfile", str(self.config), "--workflow-profile", str(self.profile)),
            *options,
        )

    def kill(self, snakemake: subprocess.Popen, *, with_children: bool = False) -> None:
        """``kill -9`` of snakemake on the login node; its jobs are elsewhere."""
        for process in psutil.Process(snakemake.pid).children():
            process.send_signal(signal.SIGKILL)
        snakemake.wait(timeout=10)

    def is_mine(self, job: dict[str, str]) -> bool:
        """Whether it is a job of this campaign: its name says so."""
        place = hashlib.sha256(str(self.layout.root.resolve()).encode()).hexdigest()[:8]
        return job["name"].startswith(f"maceloop-emt-{place}")

    def freeze(self, job: dict[str, str]) -> None:
        """Stop the processes of a job, until Slurm ends it: a command that hangs costs no CPU."""
        mine = f"SLURM_JOB_ID={job['id']}\0".encode()
        stopped: set[int] = set()
        # Again, until none has been started meanwhile. All of a round at once: a label must not be
        # finished by one process and not noted by another.
        while found := self._with_variable(mine) - stopped:
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            stopped |= found

    def thaw(self, job: dict[str, str]) -> None:
        """Let a job that was stopped go on."""
        for pid in self._with_variable(f"SLURM_JOB_ID={job['id']}\0".encode()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def wait_for_line(self, words: str) -> None:
        """Wait until snakemake or a job has said something."""
        self.wait_for(lambda: words in self.printed())

    def _with_variable(self, variable: bytes) -> set[int]:
        """Slurm's processes that have it in their environment."""
        found = set()
        for process in psutil.Process(self.slurm.init).children(recursive=True):
            with suppress(OSError):
                if variable in Path(f"/proc/{process.pid}/environ").read_bytes():
                    found.add(process.pid)
        return found

    def counts(self, *generations: int) -> tuple[int, int, int]:
        """Labels of these generations that were computed, lost, and computed more than once."""
        merged = [json.loads(self.layout.merged(g).read_text()) for g in generations]
        asked = {row["frame_id"] for part in merged for row in part["labels"]}
        calls = self.labelled()
        return (
            sum(calls[frame] > 0 for frame in asked),
            len(asked - self.stored()),
            sum(n - 1 for n in calls.values()),
        )

    def end(self, snakemake: subprocess.Popen, seconds: float = 600) -> str:
        """Wait for a successful end; what was printed."""
        code = snakemake.wait(timeout=seconds)
        assert code == 0, self.printed()
        return self.printed()

    def printed(self) -> str:
        return (self.folder / "run.log").read_text()

    def stored(self) -> set[str]:
        """Frames whose label is in the store."""
        return {path.stem for path in self.folder.glob("labels/*/*.json")} - {"theory"}


def jobs_under_way(campaign: ClusterCampaign, n: int = 2) -> list[dict[str, str]]:
    """Wait until ``n`` label jobs, which are held, have one label each."""
    campaign.wait_for(lambda: len(campaign.stored()) == n)
    return [job for job in campaign.slurm.find("label_batch") if campaign.is_mine(job)]


def light_steps(jobs: list[dict]) -> list[dict]:
    """Jobs of steps that belong beside snakemake."""
    return [
        job
        for job in jobs
        for rule in ("plan", "build_dataset", "merge_labels", "track_generation", "report")
        if job["name"].endswith(rule) or job["comment"].startswith(f"rule_{rule}")
    ]


def check_same(slurm: Slurm, campaign: ClusterCampaign, local: Campaign, n_labels: int) -> None:
    """The same labels and data as on one machine; every job where it belongs."""
    assert campaign.datasets() == local.datasets()
    assert campaign.labelled() == local.labelled() and max(campaign.labelled().values()) == 1
    summary = json.loads(campaign.layout.summary.read_text())
    assert summary["outcome"] == "budget_spent"
    jobs = [job for job in slurm.jobs() if campaign.is_mine(job)]
    of = {
        rule: [job for job in slurm.find(rule, "all") if job in jobs]
        for rule in ("train_member", "explore_md", "label_batch")
    }
    assert len(of["train_member"]) == 2 and len(of["explore_md"]) == 2
    assert len(of["label_batch"]) == n_labels, "batches, not labels"
    assert {job["state"] for job in jobs} == {"COMPLETED"} and not light_steps(jobs)
    for job in jobs:
        where = (job["partition"], "gpu" in job["gres"])
        assert where == (("gpu", True) if job in of["train_member"] else ("cpu", False))


def emt_values() -> dict:
    """config/test/emt.yaml in small, found from any folder: one generation after the seed."""
    values = yaml.safe_load((REPOSITORY / "config" / "test" / "emt.yaml").read_text())
    values["campaign"]["max_generations"] = 1
    values["seed"]["n_frames"] = 6
    values["train"]["max_num_epochs"] = 10
    values["explore"]["steps"] = 30
    values["labeller"] = {"engine": "ase", "calculator": "counting_emt:CountingEMT"}
    values["seed"]["structures"] = [str(REPOSITORY / "config" / "test" / "copper.xyz")]
    return values


def count_labels(campaign: Campaign) -> None:
    """Let jobs find the labeller that writes a line for each label."""
    here = str(REPOSITORY / "tests" / "workflow")
    paths = [here, str(REPOSITORY), campaign.env.get("PYTHONPATH", "")]
    campaign.env["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
