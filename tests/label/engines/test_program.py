"""External programs: how they ended."""

import pytest

from mace_core.label.engines.program import killed_by


@pytest.mark.parametrize(
    ("exit_code", "by"),
    [
        (-9, "signal 9 (SIGKILL)"),
        (137, "signal 9 (SIGKILL)"),  # by way of a shell or mpirun
        (143, "signal 15 (SIGTERM)"),
        (0, None),
        (1, None),
        (195, None),  # a Fortran program's own exit code
    ],
)
def test_killed_by(exit_code, by):
    assert killed_by(exit_code) == by
