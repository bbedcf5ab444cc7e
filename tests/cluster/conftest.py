"""One Slurm for a session's tests."""

import pytest
from slurm import Slurm, why_not


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    reason = why_not()
    if reason:
        pytest.skip(f"a Slurm of its own {reason}")
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.stop()


@pytest.fixture
def count(record_property, request):
    """A campaign's counts, noted for the table at the end of the session (tests/conftest.py)."""

    def count(campaign, *generations):
        counts = campaign.counts(*generations)
        what = request.function.__doc__.splitlines()[0].rstrip(".")
        record_property("counts", [what, *counts])
        return counts

    return count
