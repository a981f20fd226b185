import errno
import os
import signal

import pytest

from manyheads import atomic
from manyheads.errors import UserError


def fails_after_writing(problem):
    def fill(path):
        path.write_text("half")
        raise problem

    return fill


def test_written_whole(tmp_path):
    atomic.write_text(tmp_path / "new" / "file.json", "ü")
    assert (tmp_path / "new" / "file.json").read_text(encoding="utf-8") == "ü"


@pytest.mark.parametrize(
    ("problem", "raised", "word"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError, "disk is full"),
        (OSError(errno.EACCES, "Permission denied"), UserError, "Permission denied"),
        (ValueError("a bug"), ValueError, "a bug"),
        (KeyboardInterrupt("stopped"), KeyboardInterrupt, "stopped"),
    ],
)
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path, problem, raised, word):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(raised, match=word):
        atomic.write(path, fails_after_writing(problem))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_really_full(small_disk):
    disk = small_disk(64)
    atomic.write_text(disk / "file", "before")
    with pytest.raises(UserError, match=r"file could not be written: the disk is full\. Make room"):
        atomic.write_text(disk / "file", "x" * 100_000)
    assert [path.name for path in disk.iterdir()] == ["file"]
    assert (disk / "file").read_text() == "before"
    small_disk(256)
    atomic.write_text(disk / "file", "x" * 100_000)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    path = tmp_path / "model [1].ckpt"
    child = os.fork()
    if not child:
        atomic.write(path, lambda partial: (partial.write_text("half"), os.kill(os.getpid(), signal.SIGKILL)))
    os.waitpid(child, 0)
    (left,) = tmp_path.iterdir()
    other = atomic.beside(tmp_path / "other")  # of a process that lives
    other.write_text("half")
    atomic.write_text(path, "whole")
    assert not left.exists()
    assert {found.name for found in tmp_path.iterdir()} == {path.name, other.name}
    left.mkdir()
    atomic.clear(tmp_path)
    assert not left.exists()
    assert other.exists()
