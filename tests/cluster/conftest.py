"""One Slurm for a session's tests."""

import os
import shutil
from pathlib import Path

import pytest
from campaigns import BIN, Campaign
from filelock import FileLock
from on_slurm import ClusterCampaign, count_labels, emt_values
from slurm import Slurm, why_not

BATCHES = {"label.batch_size": 6}  # two of them


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(f"a Slurm of its own {reason}")
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.stop()


@pytest.fixture(scope="session")
def run_locally(tmp_path_factory, worker_id):
    """Makes a campaign on this machine, up to a target: once for the workers of a session.

    It goes on from another one's folder, where one is given.
    """
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent

    def run(name: str, changes: dict, target: str, before: Path | None = None) -> Campaign:
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                if before:
                    shutil.copytree(before, folder)
            campaign = Campaign(folder, emt_values(), path)
            campaign.set(changes)
            count_labels(campaign)
            if not done.exists():
                campaign.env["LABEL_SECONDS"] = "0"
                campaign.run(target)
                done.touch()
        return campaign

    return run


@pytest.fixture(scope="session")
def seeded(run_locally):
    """A campaign whose seeds are chosen."""
    return run_locally("seeded", BATCHES, "results/emt/gen_00/select/frames.extxyz")


@pytest.fixture(scope="session")
def labelled(run_locally, seeded):
    """The same, after generation 0."""
    return run_locally("labelled", BATCHES, "results/emt/gen_00/assess.json", seeded.folder)


@pytest.fixture(scope="session")
def local(run_locally, labelled):
    """The same to its end, with ``--cores 2``."""
    return run_locally("local", BATCHES, "results/emt/gen_01/assess.json", labelled.folder)


@pytest.fixture
def new(slurm, seeded, tmp_path):
    """Makes a campaign on Slurm whose seeds are chosen."""

    def make(profile="slurm-generic", **label_batch):
        campaign = ClusterCampaign(
            slurm, tmp_path, profile, {"label_batch": label_batch}, seeded.folder
        )
        campaign.set(BATCHES)
        return campaign

    return make


@pytest.fixture
def count(record_property, request):
    """A campaign's counts, noted for the table at the end of the session (tests/conftest.py)."""

    def count(campaign, *generations):
        counts = campaign.counts(*generations)
        what = request.function.__doc__.splitlines()[0].rstrip(".")
        record_property("counts", [what, *counts])
        return counts

    return count
