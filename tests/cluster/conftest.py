"""One Slurm for a session's tests."""

import os
import shutil

import pytest
from campaigns import BIN, Campaign
from filelock import FileLock
from on_slurm import ClusterCampaign, count_labels, emt_values
from slurm import Slurm, why_not

BATCHES = {"label.batch_size": 4}  # three of them, for eight seeds


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
    """Makes a campaign on this machine, up to a target: once for the workers of a session."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent

    def run(name: str, changes: dict, *target: str) -> Campaign:
        path = os.pathsep.join([str(BIN), os.environ["PATH"]])
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
            campaign = Campaign(folder, emt_values(), path)
            campaign.set(changes)
            count_labels(campaign)
            if not done.exists():
                campaign.env["LABEL_SECONDS"] = "0"
                campaign.run(*target)
                done.touch()
        return campaign

    return run


@pytest.fixture(scope="session")
def local(run_locally):
    """The same campaign as on Slurm, with ``--cores 2``."""
    return run_locally("local", {})


@pytest.fixture
def new(slurm, run_locally, tmp_path):
    """Makes a campaign on Slurm whose seeds are chosen; each label takes two seconds."""

    def make(profile="slurm-generic", **label_batch):
        seeded = run_locally("seeded", BATCHES, "results/emt/gen_00/select/frames.extxyz")
        campaign = ClusterCampaign(
            slurm, tmp_path, profile, {"label_batch": label_batch}, seeded.folder
        )
        campaign.set(BATCHES)
        campaign.env["LABEL_SECONDS"] = "2"
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
