"""External programs: how they ended."""

import pytest

from mace_core.label.engines.program import killed_by, output_of


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


def test_another_program_of_the_same_name_is_asked_anew(tmp_path, monkeypatch):
    """Else its version would be the other one's, and so would its level of theory."""
    for folder in ("one", "two"):
        program = tmp_path / folder / "dft.x"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho version {folder}; echo x >> {tmp_path}/asked\n")
        program.chmod(0o755)
    for n, folder in enumerate(("one", "two", "one"), 1):
        monkeypatch.setenv("PATH", f"{tmp_path / folder}:/usr/bin:/bin")
        for command in ("dft.x", "env dft.x"):
            assert output_of(command).strip() == f"version {folder}"
        assert len((tmp_path / "asked").read_text()) == 4 * min(n, 2)
