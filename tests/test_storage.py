"""Files appear whole or not at all."""

import errno
import os

import pytest

from mace_core import storage
from mace_core.errors import UserError


def failing(error):
    def fail(*_):
        raise OSError(error, os.strerror(error))

    return fail


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    storage.write_json(target, {"old": 1})
    monkeypatch.setattr(storage.os, "fsync", failing(errno.ENOSPC))
    for exclusive in (False, True):
        with pytest.raises(OSError, match="No space left"):
            storage.write_json(target, {"new": 2}, exclusive=exclusive)
    assert storage.read_json(target) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_the_folder_is_synced_after_the_name_is_there(tmp_path, monkeypatch):
    """Else a power cut can take the name of a file whose content is on disk."""
    seen = []
    fsync = os.fsync

    def spy(fd):
        path = os.readlink(f"/proc/self/fd/{fd}")
        seen.append((path, sorted(os.listdir(path)) if os.path.isdir(path) else None))
        fsync(fd)

    monkeypatch.setattr(storage.os, "fsync", spy)
    for exclusive in (False, True):
        seen.clear()
        storage.write_bytes(tmp_path / "new" / f"{exclusive}", b"x", exclusive=exclusive)
        folder, names = seen[-1]
        assert folder == str(tmp_path / "new") and f"{exclusive}" in names
    seen.clear()
    storage.write_bytes(tmp_path / "a" / "b" / "c", b"x")
    synced = [path for path, names in seen if names is not None]
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]


def test_a_link_that_a_server_made_twice_is_ours(tmp_path, monkeypatch):
    link = os.link

    def twice(source, target):
        link(source, target)
        link(source, target)  # the repeated request of a lost answer

    monkeypatch.setattr(storage.os, "link", twice)
    assert storage.write_bytes(tmp_path / "a", b"mine", exclusive=True)
    assert not storage.write_bytes(tmp_path / "a", b"late", exclusive=True)
    assert (tmp_path / "a").read_bytes() == b"mine"


def test_without_hard_links_the_user_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(storage.os, "link", failing(errno.EOPNOTSUPP))
    with pytest.raises(UserError, match="hard links") as caught:
        storage.write_bytes(tmp_path / "a", b"x", exclusive=True)
    assert "label_store" in caught.value.mend
    assert not list(tmp_path.iterdir())
